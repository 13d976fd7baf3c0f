"""What ai-toolkit does to its base model before it samples with it, and whose weights it samples with.

Sources: ostris/ai-toolkit@27a03a9 `toolkit/stable_diffusion_model.py` (`load_model`, `generate_images`),
`toolkit/config_modules.py::ModelConfig`, `jobs/process/BaseSDTrainProcess.py` (`sample`, `save`, `setup_ema`).
"""

from __future__ import annotations

from typing import Final

from ...configs.fields import Reading, Section, is_boolean
from ..reading import masked, quantised, rescaling

#: Switches that change the model in a way that no graph has, and how.
_CHANGES: Final = {
    "experimental_xl": "the trainer puts other weights into the second text encoder's projection",
    "unconditional_lora_path": "the trainer runs the negative pass with a LoRA of its own",
}


def read_base(reading: Reading, model: Section, sample: Section, family: str) -> dict[str, str | float | bool]:
    """Settings of the sampling that the model section has; LoRAs in the base and what cannot be had are noted."""
    _quantised(reading, model)
    _loras(reading, model, family)
    if _on(model, "attn_masking") and family == "flux":
        masked(reading, model.path_of("attn_masking"))
    _refiner(reading, model, sample, family)
    for key, what in _CHANGES.items():
        if _on(model, key):
            reading.differs("model", f"{model.path_of(key)}: {what}; here it is not done.")
    if family != "sdxl":
        return {}
    settings: dict[str, str | float | bool] = {}
    if _on(model, "is_v_pred"):
        reading.note(f"{model.path_of('is_v_pred')}: the model is sampled as one that predicts v (v_prediction).")
        settings["prediction"] = "v_prediction"
    return settings | rescaling(reading, sample.path_of("guidance_rescale"), sample.number("guidance_rescale") or 0.0)


def note_average(reading: Reading, train: Section | None) -> None:
    """Say so where samples and checkpoints are of averaged weights."""
    average = train.section("ema_config") if train is not None else None
    if average is not None and _on(average, "use_ema"):
        reading.note(
            f"{average.path}: the trainer samples averaged weights (EMA), and saves them: its checkpoints hold what "
            "made the samples."
        )


def _on(section: Section, key: str) -> bool:
    """Whether a field is set, as Python tests it; a field that is off stays unread, without effect."""
    node = section.members.get(key)
    if node is None or (is_boolean(node, True) and str(node.value).lower() in ("false", "no", "off")):
        return False
    return section.get(key) is not None and node.value not in ("", "0")


def _quantised(reading: Reading, model: Section) -> None:
    """The transformer, and the text encoders, which are quantised with it unless the config says otherwise."""
    whole = _on(model, "quantize")
    encoders = _on(model, "quantize_te") if model.has("quantize_te") else whole
    kinds = {key: model.text(key) or "qfloat8" for key, on in (("qtype", whole), ("qtype_te", encoders)) if on}
    if whole:
        what = "base model and text encoder" if encoders else "base model"
        quantised(reading, model.path_of("quantize"), what, ", ".join(dict.fromkeys(kinds.values())))
    elif encoders:
        quantised(reading, model.path_of("quantize_te"), "text encoder", kinds["qtype_te"])
    if whole and _on(model, "accuracy_recovery_adapter"):
        field = model.path_of("accuracy_recovery_adapter")
        reading.note(f"{field}: it makes up for the quantised base model, which is not quantised here.")


def _loras(reading: Reading, model: Section, family: str) -> None:
    """`lora_path` is fused into the base model; on Flux `inference_lora_path` is switched on for samples.

    `assistant_lora_path` is there for training alone: it is taken out again, or sampled with -1 where it was fused.
    """
    for key in ("lora_path", "inference_lora_path"):
        if key == "inference_lora_path" and family != "flux":
            continue
        named = model.text(key) if _on(model, key) else None
        if named:
            reading.loras[named] = 1.0
            reading.note(f"{model.path_of(key)}: the samples are made with {named} in the base model, as here.")


def _refiner(reading: Reading, model: Section, sample: Section, family: str) -> None:
    if family != "sdxl" or not _on(model, "refiner_name_or_path"):
        return
    start = sample.number("refiner_start_at")
    start = 0.5 if start is None else start
    if start < 1.0:
        reading.differs(
            "model",
            f"{model.path_of('refiner_name_or_path')}: from {start:g} of the steps on the trainer's refiner finishes "
            "the picture; here the base model does.",
        )
