"""EriTrainer's own configs (`~/.config/eritrainer/configs/<run>.json`): what its window starts V2's programs with.

Source: CodeAlexx/EriTrainer@c2c7ac9 src/config.rs (L270-479), src/runtime.rs (L660-814): `train --model sd35 -- …` gets
the first sample only; SDXL and Flux get no sample flags.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ...configs.fields import Section
from ...configs.tree import Document, has_any
from ...families import FAMILIES
from ...spec.model import MAX_SEED
from ..reading import unsupported
from .programs import TRAIN_SD35, Settings, settings_for

_ONLY_SD35: Final = "sd35"
#: What train_sd35 needs to sample; without one of them EriTrainer starts it with --sample-every 0.
_ASSETS: Final = (
    *("sample_encoder_path", "sample_tokenizer_path", "sample_clip_g_path", "sample_clip_g_tokenizer_path"),
    *("sample_t5_path", "sample_t5_tokenizer_path"),
)
_LEAST_SIZE: Final = 64


def is_eritrainer(document: Document) -> bool:
    """True for a config that EriTrainer's window saved."""
    kept = has_any(document, "backend_target", "run_config_path", "sample_output_dir")
    return document.kind == "json" and has_any(document, "run_name") and kept


def ui_family(root: Section, family: str | None) -> str:
    """The family of its `model_type`, which is V2's name of it."""
    kind = family or root.text("model_type")
    if kind is None:
        raise root.missing("model_type", "Write it.")
    if kind not in FAMILIES:
        raise unsupported(root, "model_type", repr(kind))
    return kind


def ui_settings(root: Section, family: str) -> Settings:
    """What it passes on to train_sd35; for the others, what the sampling program takes for its settings."""
    whole = {key: root.number(f"sample_{key}") for key in ("size", "steps", "after")}
    base, cfg = (TRAIN_SD35 if family == _ONLY_SD35 else settings_for(family)), root.number("sample_cfg")
    if whole["size"] is not None:
        base = base.sized(max(int(whole["size"]), _LEAST_SIZE))
    if whole["steps"] is not None:
        base = replace(base, steps=max(int(whole["steps"]), 1))
    if cfg is not None:
        base = replace(base, guidance=cfg) if family == "flux" else replace(base, cfg=cfg)
    for key in ("sample_sampler", "sampler_preset"):
        root.get(key)
    every = int(max(whole["after"] or 0, 0)) or None
    if family != _ONLY_SD35:
        root.reading.note(
            f"EriTrainer samples nothing of {FAMILIES[family].title} in the run: the config's prompts, size, steps and "
            f"scale are sampled as {base.program} does. Its sample_sampler reaches no program."
        )
        return replace(base, every=every)
    if base.locked is not None and base.size != base.locked:
        raise root.error("sample_size", f"train_sd35 takes {base.locked} only", f"Write {base.locked}.")
    if every is None or not all((root.text(key) or "").strip() for key in _ASSETS):
        root.reading.note("sample_after or a path of its encoders is not given: the trainer itself makes no samples.")
    return replace(base, every=every)


def ui_samples(root: Section, settings: Settings) -> list[tuple[Section, str, str, int]]:
    """Its samples: where each stands, prompt, negative prompt and seed."""
    nodes = root.items("samples") or []
    if settings.in_run and len(nodes) > 1:
        root.reading.note(f"EriTrainer passes the first of its {len(nodes)} samples on to train_sd35, no other.")
        nodes = nodes[:1]
    found = []
    for index, node in enumerate(nodes):
        where = f"samples[{index}]"
        if not isinstance(node.value, dict):
            raise root.reading.error("a sample is a section of fields", node, where, 'Write {"prompt": "..."}.')
        entry = Section(root.reading, node, where)
        prompt = (entry.text("prompt") or "").strip()
        if not prompt:
            raise entry.missing("prompt", "Write the prompt; without one the trainer samples nothing.")
        negative, seed = entry.text("negative_prompt") or "", entry.integer("seed", -(2**31), MAX_SEED)
        seed = settings.seed if seed is None else max(seed, 0)
        found.append((entry, prompt, negative if negative.strip() else "", seed))
    return found
