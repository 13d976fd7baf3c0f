"""Telling configs apart by their content.

EriDiffusion V1 took its config from ai-toolkit, so many files are valid for both and mean the same up to defaults,
rounding and templating. Fields that only one of the two knows decide, by majority; without any, or with as many for
each, it is EriDiffusion's. `read_spec(trainer=...)` overrides.
"""

from __future__ import annotations

import re
from typing import Final

from ..configs.command_line import PROGRAM
from ..configs.parse import PROGRAMS
from ..configs.tree import Document, Node
from .kohya.gui import is_gui_form
from .kohya.prompts import is_prompt_file, looks_like_entries

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


def has_any(document: Document, *keys: str) -> bool:
    """True when the document's top level has one of these keys."""
    root = document.root.value
    return isinstance(root, dict) and any(key in root for key in keys)


def is_flat_eridiffusion(document: Document) -> bool:
    """True for EriDiffusion V1's flat sections: `validation:` or `sample:` beside a model, or a template."""
    root = document.root.value
    if not isinstance(root, dict) or document.kind in ("env", "toml", "command"):
        return False
    sections = [root[key] for key in ("validation", "sample") if key in root]
    return "model_kind" in root or any(isinstance(section.value, dict) for section in sections)


def is_simpletuner(document: Document) -> bool:
    """True for SimpleTuner's options in any notation, and for what its web interface exports."""
    if has_any(document, "model_family", "--model_family", "MODEL_FAMILY", "VALIDATION_PROMPT"):
        return True
    return has_any(document, "_metadata") and any(
        _find(document.root, f"config.{key}") is not None for key in ("model_family", "--model_family")
    )


def is_eridiffusion_v2(document: Document) -> bool:
    """True for V2's command lines, its JSON configs (OneTrainer's, with fields of its own) and prompt libraries."""
    if document.kind == "command":
        return _matches(_find(document.root, PROGRAM), PROGRAMS.pattern)
    if document.kind != "json":
        return False
    if _entries_with(document, "prompts", {"negative", "seeds", "size"}):
        return True
    if has_any(document, *_ONETRAINER_ONLY):
        return False
    kind = _find(document.root, "model_type")
    return has_any(document, *_V2_ONLY) or (kind is not None and _matches(kind, r"FluxDev1|StableDiffusion\w*"))


def is_onetrainer(document: Document) -> bool:
    """True for OneTrainer's configs and its samples files."""
    if document.kind != "json":
        return False
    return has_any(document, "training_method", "sample_definition_file_name") or _entries_with(
        document, "", {"diffusion_steps", "cfg_scale", "noise_scheduler", "random_seed"}
    )


def is_musubi(document: Document) -> bool:
    """True for musubi-tuner's training arguments: they name a `dit` where sd-scripts' name a checkpoint."""
    if document.kind == "command":
        return _matches(_find(document.root, PROGRAM), "flux_kontext_train.*")
    names = _argument_names(document)
    return "dit" in names and "pretrained_model_name_or_path" not in names


def is_kohya(document: Document) -> bool:
    """True for sd-scripts' training arguments, its GUI's forms, and prompt files, whose trainer nothing tells."""
    if is_prompt_file(document):
        return document.kind != "json" or looks_like_entries(document.root)
    if document.kind == "command" or is_gui_form(document):
        return True
    return not _argument_names(document).isdisjoint(_KOHYA_ARGUMENTS)


_ONETRAINER_ONLY: Final = ("samples", "sample_definition_file_name", "sample_after_unit", "concepts", "tensorboard")
_V2_ONLY: Final = (
    *("validation_prompts_file", "validation_every_steps", "validation_dataset_dir", "multi_backend_weights"),
    *("tread_keep_ratio", "tread_route_pattern", "ema_validation_swap", "gamma_input_perturbation", "lr_min_factor"),
)
_KOHYA_ARGUMENTS: Final = frozenset(("sample_prompts", "pretrained_model_name_or_path", "network_module"))


def _argument_names(document: Document) -> set[str]:
    """Names at the top level and one level below it."""
    root = document.root.value
    if not isinstance(root, dict) or document.kind not in ("toml", "yaml", "json"):
        return set()
    names = set(root)
    for node in root.values():
        if isinstance(node.value, dict) and document.kind == "toml":
            names |= set(node.value)
    return names


def _entries_with(document: Document, key: str, names: set[str]) -> bool:
    """True when the list below a key ("" = the document itself) holds a section with one of these fields."""
    listed = _find(document.root, key) if key else document.root
    if listed is None or not isinstance(listed.value, list):
        return False
    return any(isinstance(node.value, dict) and not names.isdisjoint(node.value) for node in listed.value)


def process_shape(document: Document) -> str | None:
    """ "eridiffusion" or "ai-toolkit" for a `config.process[]` document, None for any other."""
    process = _process(document.root)
    if process is None:
        return None
    votes = signals(process)
    return "ai-toolkit" if votes.count("ai-toolkit") > votes.count("eridiffusion") else "eridiffusion"


def signals(process: Node) -> list[str]:
    """Trainer of every field in a process that only one of the two knows."""
    return [trainer for trainer, path, pattern in SIGNALS if _matches(_find(process, path), pattern)]


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


def _find(node: Node, path: str) -> Node | None:
    for key in path.split("."):
        child = node.value.get(key) if isinstance(node.value, dict) else None
        if child is None:
            return None
        node = child
    return node


def _matches(node: Node | None, pattern: str | None) -> bool:
    if node is None or pattern is None:
        return node is not None
    texts = node.value if isinstance(node.value, list) else [node]
    return any(isinstance(text.value, str) and re.fullmatch(pattern, text.value) is not None for text in texts)
