"""The `config.process[]` shape that EriDiffusion V1 took over from ai-toolkit, and how the two are told apart.

Many files are valid for both and mean the same up to defaults, rounding and templating. Fields that only one of the two
knows decide, by majority; without any, or with as many for each, it is EriDiffusion's. `read_spec(trainer=...)`
overrides.
"""

from __future__ import annotations

from typing import Final

from ..configs.fields import Reading, Section
from ..configs.tree import Document, Node
from .recognise import find, matches

#: trainer, field below the process ("type" = the process's own type), pattern its text must match or None = any.
SIGNALS: Final = (
    ("eridiffusion", "type", r"flux_trainer"),
    ("eridiffusion", "low_vram", None),
    ("eridiffusion", "tread", None),
    ("eridiffusion", "model.is_sdxl", None),
    ("eridiffusion", "model.arch", r"(?i)sd_?3[._]?5|sd_xl"),
    ("eridiffusion", "model.t5_max_length", None),
    ("eridiffusion", "model.snr_gamma", None),
    ("eridiffusion", "model.max_grad_norm", None),
    ("eridiffusion", "model.clip_path", None),
    ("eridiffusion", "model.clip_l_path", None),
    ("eridiffusion", "model.clip_g_path", None),
    ("eridiffusion", "model.t5_path", None),
    ("eridiffusion", "model.text_encoder_path", None),
    ("eridiffusion", "model.text_encoder_2_path", None),
    ("eridiffusion", "train.use_layer_streaming", None),
    ("eridiffusion", "train.streaming_memory_limit_gb", None),
    ("eridiffusion", "sample.prompts", r"(?s).*\{trigger_word\}.*"),
    ("ai-toolkit", "type", r"diffusion_trainer|ui_trainer|textual_inversion_trainer|concept_\w+|\w+_slider_trainer"),
    ("ai-toolkit", "first_sample", None),
    ("ai-toolkit", "sqlite_db_path", None),
    ("ai-toolkit", "logging", None),
    ("ai-toolkit", "sample.samples", None),
    ("ai-toolkit", "sample.sample_start_step", None),
    ("ai-toolkit", "sample.network_multiplier", None),
    ("ai-toolkit", "sample.guidance_rescale", None),
    ("ai-toolkit", "sample.format", None),
    ("ai-toolkit", "sample.num_frames", None),
    ("ai-toolkit", "sample.fps", None),
    ("ai-toolkit", "sample.seed", r"-\d+"),
    ("ai-toolkit", "sample.neg", r"(?i)false"),
    ("ai-toolkit", "sample.prompts", r"(?s).* --(?:w|h|d|seed|l|cfg|s|steps|m|n) .*"),
    ("ai-toolkit", "model.is_xl", None),
    ("ai-toolkit", "model.use_flux_cfg", None),
    ("ai-toolkit", "model.assistant_lora_path", None),
    ("ai-toolkit", "model.extras_name_or_path", None),
    ("ai-toolkit", "model.te_name_or_path", None),
    ("ai-toolkit", "model.qtype", None),
    ("ai-toolkit", "model.quantize_te", None),
    ("ai-toolkit", "model.model_kwargs", None),
    ("ai-toolkit", "model.arch", r"sd3|flex\w*|.*:.*"),
    # A Hub id: one slash, no file ending. EriDiffusion opens files.
    ("ai-toolkit", "model.name_or_path", r"[A-Za-z0-9][\w.-]*/(?!.*\.(?:safetensors|gguf|ckpt|pt|sft)$)[\w.-]+"),
    ("ai-toolkit", "train.timestep_type", None),
    ("ai-toolkit", "train.content_or_style", None),
)


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
    return "ai-toolkit" if votes.count("ai-toolkit") > votes.count("eridiffusion") else "eridiffusion"


def signals(process: Node) -> list[str]:
    """Trainer of every field in a process that only one of the two knows."""
    return [trainer for trainer, path, pattern in SIGNALS if matches(find(process, path), pattern)]


def is_ambiguous(document: Document) -> bool:
    """True when nothing in a `config.process[]` document tells the two trainers apart."""
    process = _process(document.root)
    votes = signals(process) if process is not None else []
    return process is not None and votes.count("ai-toolkit") == votes.count("eridiffusion")


def _process(root: Node) -> Node | None:
    """The first process that is a mapping; a document that is the config section itself counts."""
    config = root.value.get("config", root) if isinstance(root.value, dict) else root
    listed = config.value.get("process") if isinstance(config.value, dict) else None
    if listed is None or not isinstance(listed.value, list):
        return None
    processes = [node for node in listed.value if isinstance(node.value, dict)]
    with_sample = [node for node in processes if not {"sample", "validation"}.isdisjoint(node.value)]
    return next(iter(with_sample or processes), None)
