"""The `config.process[]` shape that EriDiffusion V1 took over from ai-toolkit."""

from __future__ import annotations

from ..configs.fields import Reading, Section


def first_process(config: Section, types: tuple[str, ...], trainer: str) -> Section:
    """The first process of one of these types; the others are reported."""
    nodes = config.items("process")
    if not nodes:
        raise config.missing("process", "Add a process with a sample section.")
    path = config.path_of("process")
    chosen: Section | None = None
    for index, node in enumerate(nodes):
        name = f"{path}[{index}]"
        if not isinstance(node.value, dict):
            raise config.reading.error("a process is a section of fields", node, name, "Indent its fields below '-'.")
        kind = node.value.get("type")
        if chosen is None and kind is not None and kind.value in types:
            chosen = Section(config.reading, node, name)
            chosen.get("type")
        else:
            config.reading.unused.append((node.line, node.column, name))
    if chosen is None:
        found = [str(kind.value) for node in nodes if (kind := Section(config.reading, node, path).get("type"))]
        raise config.error(
            "process",
            f"no process is of type {' or '.join(types)} (found: {', '.join(found) or 'no type'})",
            f"{trainer} samples only in those.",
        )
    if len(nodes) > 1:
        config.reading.note(f"Only {chosen.path} is read; the other {len(nodes) - 1} of {path} are not.")
    return chosen


def use_family_fields(model: Section | None, keys: tuple[str, ...]) -> None:
    """Mark the fields that may name the family as read, also when another one of them told it."""
    if model is not None:
        for key in keys:
            model.get(key)


def note_disabled_sampling(reading: Reading, train: Section | None) -> None:
    """Say so when the config switches the trainer's own samples off."""
    if train is not None and train.flag("disable_sampling"):
        reading.note("train.disable_sampling is true: the trainer itself makes no samples.")
