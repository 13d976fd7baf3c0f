"""The `config.process[]` shape that EriDiffusion V1 took over from ai-toolkit, and how the two are told apart.

Many files are valid for both and mean the same up to defaults, rounding and templating. Fields that only one of the two
knows decide, by majority; without any, or with as many for each, it is EriDiffusion's. `read_spec(trainer=...)`
overrides.
"""

from __future__ import annotations

from typing import Final

from ..configs.fields import Reading, Section
from ..configs.tree import Document, Node, find, matches

#: Trainer -> field below the process ("type" = the process's own type) -> pattern its text must match, None = any.
SIGNALS: Final[dict[str, dict[str, str | None]]] = {
    "eridiffusion": {
        **dict.fromkeys(("low_vram", "tread", "model.is_sdxl", "model.t5_max_length", "model.snr_gamma")),
        **dict.fromkeys(("model.max_grad_norm", "model.clip_path", "model.clip_l_path", "model.clip_g_path")),
        **dict.fromkeys(("model.t5_path", "model.text_encoder_path", "model.text_encoder_2_path")),
        **dict.fromkeys(("train.use_layer_streaming", "train.streaming_memory_limit_gb")),
        "type": r"flux_trainer",
        "model.arch": r"(?i)sd_?3[._]?5|sd_xl",
        "sample.prompts": r"(?s).*\{trigger_word\}.*",
    },
    "ai-toolkit": {
        **dict.fromkeys(("first_sample", "sqlite_db_path", "logging", "sample.samples", "sample.sample_start_step")),
        **dict.fromkeys(("sample.network_multiplier", "sample.guidance_rescale", "sample.format", "sample.num_frames")),
        **dict.fromkeys(("sample.fps", "model.is_xl", "model.use_flux_cfg", "model.assistant_lora_path")),
        **dict.fromkeys(("model.extras_name_or_path", "model.te_name_or_path", "model.qtype", "model.quantize_te")),
        **dict.fromkeys(("model.model_kwargs", "train.timestep_type", "train.content_or_style")),
        "type": r"diffusion_trainer|ui_trainer|textual_inversion_trainer|concept_\w+|\w+_slider_trainer",
        "sample.seed": r"-\d+",
        "sample.neg": r"(?i)false",
        "sample.prompts": r"(?s).* --(?:w|h|d|seed|l|cfg|s|steps|m|n) .*",
        "model.arch": r"sd3|flex\w*|.*:.*",
        # A Hub id or a folder: a slash, no file ending. EriDiffusion opens files.
        "model.name_or_path": r"(?!.*\.(?:safetensors|gguf|ckpt|pt|sft|bin)$).*[\w.-][/\\][\w.-].*",
    },
}


#: What a script starts ai-toolkit with.
_PROGRAM: Final = "run.py"


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


def process_shape(document: Document) -> str | None:
    """ "eridiffusion" or "ai-toolkit" for a `config.process[]` document, None for any other."""
    process = _process(document.root)
    if process is None:
        return None
    votes = signals(process)
    if document.started_by == _PROGRAM:
        return "ai-toolkit"
    return "ai-toolkit" if votes.count("ai-toolkit") > votes.count("eridiffusion") else "eridiffusion"


def is_process(root: Node) -> bool:
    """True for a process section alone, as ai-toolkit prints it into its log."""
    return isinstance(root.value, dict) and {"type", "model", "sample"} <= root.value.keys()


def signals(process: Node) -> list[str]:
    """Trainer of every field in a process that only one of the two knows."""
    return [
        trainer
        for trainer, fields in SIGNALS.items()
        for path, pattern in fields.items()
        if matches(find(process, path), pattern)
    ]


def is_ambiguous(document: Document) -> bool:
    """True when nothing in a `config.process[]` document tells the two trainers apart."""
    process = _process(document.root)
    votes = signals(process) if process is not None else []
    even = votes.count("ai-toolkit") == votes.count("eridiffusion")
    return process is not None and even and document.started_by != _PROGRAM


def _process(root: Node) -> Node | None:
    """The first process that is a mapping; a document that is the config section or the process itself counts."""
    if is_process(root):
        return root
    config = root.value.get("config", root) if isinstance(root.value, dict) else root
    listed = config.value.get("process") if isinstance(config.value, dict) else None
    if listed is None or not isinstance(listed.value, list):
        return None
    processes = [node for node in listed.value if isinstance(node.value, dict)]
    with_sample = [node for node in processes if not {"sample", "validation"}.isdisjoint(node.value)]
    return next(iter(with_sample or processes), None)
