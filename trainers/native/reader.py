"""The pack's own form: a mapping with `eri_spec: 1`, a family and a list of items, in JSON or YAML.

`SampleSpec.to_json` writes it. By hand, an item needs prompt, width, height and steps; `cfg_scale` is 1.0, `lora_scale`
1.0, `seed` null (random) and `negative_prompt` "" unless given, and the fields of SampleSpec are optional but family.
"""

from __future__ import annotations

from typing import Final, TypeVar

from ...configs.fields import Reading, Section
from ...configs.tree import Document, Node, has_any
from ...errors import SpecError
from ...families import FAMILIES
from ...spec.model import (
    DTYPES,
    MAX_PIXELS,
    MAX_SEED,
    MAX_SETTING,
    MAX_STEPS,
    SAMPLING,
    SPEC_VERSION,
    UNNAMED,
    SampleItem,
    SampleSpec,
)
from ..claims import TOPICS
from ..reading import texts_of
from .sampling import ID

Value = TypeVar("Value")

MARKER: Final = "eri_spec"


def read_native(document: Document, family: str | None) -> SampleSpec:
    """Spec written in the pack's own form; family fills in a missing one and must not contradict a given one."""
    reading = Reading(document, integral=True)
    root = reading.root()
    version = root.integer(MARKER, 1, SPEC_VERSION)
    if version is None:
        raise root.missing(MARKER, f"Write `{MARKER}: {SPEC_VERSION}`.")
    root.get("$schema")
    trainer = _or(root.text("trainer"), ID)
    named = root.text("family") or family
    if named not in FAMILIES or (family is not None and family != named):
        problem = f"the family is {named!r}" + (f", not {family!r}" if family and named else "")
        raise root.error("family", problem, f"Write one of {', '.join(FAMILIES)}.")
    nodes = root.items("items")
    if not nodes:
        raise root.error("items", "there is no item, so there is nothing to sample", "Add at least one item.")
    items = [_item(reading, node, index) for index, node in enumerate(nodes)]
    files = root.section("model_files")
    notes, ignored = _texts(root, "notes"), _texts(root, "ignored")
    return SampleSpec(
        family=named,
        trainer=trainer,
        items=items,
        variant=root.text("variant"),
        name=_or(root.text("name"), UNNAMED),
        trigger_word=root.text("trigger_word"),
        sample_every=_integer(root, "sample_every", 1, 2**31),
        layout=_or(root.text("layout"), trainer),
        t5_length=_integer(root, "t5_length", 1, 4096),
        precision=_one_of(root, "precision", DTYPES),
        image_format=root.text("image_format"),
        source=_or(root.text("source"), document.source),
        model_files=texts_of(files, files.members if files else ()),
        loras=_loras(root),
        differences=_differences(root),
        sampling=_sampling(root),
        notes=notes + reading.notes,
        total=_integer(root, "total", 1, 2**31),
        ignored=ignored + [name for name in reading.ignored() if name not in ignored],
    )


def refuse_own_form(document: Document) -> None:
    """SpecError for a config in the pack's own form that is to be read as a trainer's."""
    if has_any(document, MARKER):
        raise SpecError(
            "this is a resolved spec in the pack's own form, not a trainer's config",
            source=document.source,
            field=MARKER,
            remedy='Leave the trainer on "auto".',
        )


def _one_of(section: Section, key: str, known: tuple[str, ...]) -> str | None:
    """A text that is one of some names; a misspelt one would change pictures without a word."""
    value = section.text(key)
    if value is not None and value not in known:
        raise section.error(key, f"there is no {key} {value!r}", f"Write one of {', '.join(known)}.")
    return value


def _item(reading: Reading, node: Node, position: int) -> SampleItem:
    """One entry of `items`."""
    path = f"items[{position}]"
    if not isinstance(node.value, dict):
        raise reading.error("an item is a section of fields", node, path, 'Write "- prompt: ...".')
    item = Section(reading, node, path)
    prompt = item.text("prompt")
    if prompt is None:
        raise item.missing("prompt", 'Write the prompt; "" for an empty one.')
    return SampleItem(
        index=_or(item.integer("index", 0, 2**31), position),
        prompt=prompt,
        width=_required(item, "width", MAX_PIXELS),
        height=_required(item, "height", MAX_PIXELS),
        steps=_required(item, "steps", MAX_STEPS),
        prompt_2=item.text("prompt_2"),
        prompt_3=item.text("prompt_3"),
        negative_prompt=item.text("negative_prompt") or "",
        seed=_integer(item, "seed", 0, MAX_SEED),
        cfg_scale=_or(item.number("cfg_scale"), 1.0),
        guidance=item.number("guidance") if item.get("guidance") is not None else None,
        sampler=item.text("sampler"),
        lora_scale=_or(item.number("lora_scale"), 1.0),
        label=item.text("label"),
        ema=_or(item.flag("ema"), False),
        shift=item.number("shift") if item.get("shift") is not None else None,
        control_image=item.text("control_image"),
    )


def _required(section: Section, key: str, high: int) -> int:
    value = section.integer(key, 1, high)
    if value is None:
        raise section.missing(key, f"Write a whole number from 1 to {high}.")
    return value


def _integer(section: Section, key: str, low: int, high: int) -> int | None:
    """A whole number that may be null."""
    return section.integer(key, low, high) if section.get(key) is not None else None


def _texts(section: Section, key: str) -> list[str]:
    path = section.path_of(key)
    return [section.as_text(node, f"{path}[{index}]") for index, node in enumerate(section.items(key) or [])]


def _loras(root: Section) -> dict[str, float]:
    section = root.section("loras")
    return {key: _or(section.number(key), 1.0) for key in section.members} if section else {}


def _differences(root: Section) -> dict[str, list[str]]:
    section = root.section("differences")
    found = {key: _texts(section, key) for key in section.members} if section else {}
    unknown = [topic for topic in found if topic not in TOPICS]
    if unknown:
        raise root.error("differences", f"there is no topic {unknown[0]!r}", f"Known ones: {', '.join(TOPICS)}.")
    return found


def _sampling(root: Section) -> dict[str, str | float | bool]:
    """`sampling`: only names of SAMPLING, each of its type; a misspelt one would change pictures without a word."""
    section = root.section("sampling")
    values: dict[str, str | float | bool] = {}
    for key in section.members if section else ():
        kind = SAMPLING.get(key)
        if section is None or kind is None:
            raise root.error("sampling", f"there is no setting {key!r}", f"Known ones: {', '.join(SAMPLING)}.")
        read = {str: section.text, float: section.number, bool: section.flag}.get(kind)
        value = read(key) if read else section.integer(key, 0, MAX_SETTING.get(key, 1000))
        if value is None:
            raise section.error(key, "the value is empty", "Write one, or remove the line.")
        values[key] = value
    return values


def _or(value: Value | None, default: Value) -> Value:
    return default if value is None else value
