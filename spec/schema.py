"""JSON Schema of the native form, made from the model, so that editors complete and check it."""

from __future__ import annotations

from typing import Any, Final

from ..families import FAMILIES
from ..families.names import MAX_PIXELS, MAX_SEED, MAX_STEPS
from ..trainers import LISTED
from .model import DTYPES, SAMPLING, SPEC_VERSION

SCHEMA_ID: Final = "https://raw.githubusercontent.com/CodeAlexx/comfyui-eridiffusion/main/docs/native-spec.schema.json"
_TYPES: Final = {str: "string", float: "number", bool: "boolean", int: "integer"}
_SAMPLING_TEXTS: Final = {
    "noise": "Where the initial noise comes from: generator/layout/dtype, e.g. torch-cpu/nchw/float32.",
    "rounding": "How a pixel becomes one of 256 values: truncate or round.",
    "long_prompt": "What happens to prompts over 77 CLIP tokens: truncate or chunks.",
    "weighting": "Whether (word:1.2) is syntax.",
    "empty": "What an empty prompt means: encode or zeros.",
    "shifted": "Flux: false gives schnell's plain schedule.",
    "base_shift": "Flux: mu at 256 image tokens.",
    "max_shift": "Flux: mu at 4096 image tokens.",
    "shift": "SD 3.5: the shift of the schedule.",
    "spacing": "Flux: linear, timesteps; SD 3.5: timesteps, linear, cosine, simple; SDXL: leading, trailing, linspace.",
    "offset": "SDXL: added to every timestep of DDIM.",
    "final_alpha": "SDXL: what the last step lands on, alpha[0] or 1.",
    "zero_snr": "SDXL: betas rescaled to zero terminal SNR.",
    "clip_sample": "SDXL: the predicted picture clipped to [-1, 1] at every step.",
    "eta": "SDXL: 0 is DDIM, 1 is DDPM.",
    "skip_layers": "SD 3.5: layers for skip-layer guidance, e.g. 7, 8, 9; empty = off.",
    "skip_scale": "SD 3.5: strength of skip-layer guidance.",
    "skip_start": "SD 3.5: share of the run at which skip-layer guidance starts.",
    "skip_end": "SD 3.5: share of the run at which skip-layer guidance ends.",
}


def native_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) as a plain dict; `docs/native-spec.schema.json` is this."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Sample spec",
        "description": "What a training run samples, fully resolved: the native form of comfyui-eridiffusion.",
        "type": "object",
        "required": ["eri_spec", "family", "items"],
        "properties": _spec(),
        "$defs": {"item": {"type": "object", "required": _REQUIRED, "properties": _item()}},
    }


_REQUIRED: Final = ["prompt", "width", "height", "steps"]


def _spec() -> dict[str, Any]:
    return {
        "eri_spec": {"const": SPEC_VERSION, "description": "Version of this form."},
        "family": {"enum": list(FAMILIES), "description": "Model family."},
        "trainer": {
            "enum": list(LISTED),
            "default": "native",
            "description": "Whose way of sampling is followed (noise, schedule, token lengths, file names).",
        },
        "items": {
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/$defs/item"},
            "description": "The images, in the trainer's order.",
        },
        "variant": _text("Variant of the family: dev, schnell, large, medium, large-turbo."),
        "name": {"type": "string", "default": "samples", "description": "Name of the run; names its folder."},
        "trigger_word": _text("Trigger word; already put into the prompts."),
        "total": _whole("Samples that the trainer makes at a step, where the items are a part of them.", 1, 2**31),
        "sample_every": _whole("Training steps between samples.", 1, 2**31),
        "layout": {"enum": list(LISTED), "description": "Whose file names are used; default: the trainer's."},
        "t5_length": _whole("T5 tokens; null = the trainer's own number.", 1, 4096),
        "precision": {
            "enum": [*DTYPES, None],
            "description": "dtype the trainer computes in; some draw their noise in it.",
        },
        "image_format": _text("File type: png, jpg, webp; null = the trainer's own."),
        "source": {"type": "string", "description": "Where the spec was read from."},
        "model_files": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "What the config calls its base model files, by its own keys.",
        },
        "sampling": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {"type": _TYPES[kind], "description": _SAMPLING_TEXTS[name]}
                | ({"minimum": 0, "maximum": 1000} if kind is int else {})
                for name, kind in SAMPLING.items()
            },
            "description": "What differs from the trainer's own way of sampling.",
        },
        "ignored": _texts("Config fields that do not act on the samples."),
        "notes": _texts("Sentences for people on what was decided while reading."),
    }


def _item() -> dict[str, Any]:
    same = "Other text for the {} text encoder; null = the same prompt."
    return {
        "index": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**31,
            "description": "Number of the sample; default: its position.",
        },
        "prompt": {"type": "string", "description": "Exactly what reaches the text encoders."},
        "prompt_2": _text(same.format("second")),
        "prompt_3": _text(same.format("third")),
        "negative_prompt": {"type": "string", "default": "", "description": "Negative prompt."},
        "width": {"type": "integer", "minimum": 1, "maximum": MAX_PIXELS, "description": "Pixels."},
        "height": {"type": "integer", "minimum": 1, "maximum": MAX_PIXELS, "description": "Pixels."},
        "steps": {"type": "integer", "minimum": 1, "maximum": MAX_STEPS, "description": "Sampling steps."},
        "seed": _whole("Seed; null = a new random one each time.", 0, MAX_SEED),
        "cfg_scale": {"type": "number", "default": 1.0, "description": "True classifier-free guidance; 1 = off."},
        "guidance": {"type": ["number", "null"], "description": "Flux: value of the guidance embedding."},
        "sampler": _text("The trainer's word for the sampler (SDXL: ddim, euler, ddpm)."),
        "lora_scale": {"type": "number", "default": 1.0, "description": "LoRA strength."},
        "label": _text("The trainer's own name of the sample in file names."),
    }


def _text(description: str) -> dict[str, Any]:
    return {"type": ["string", "null"], "description": description}


def _texts(description: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def _whole(description: str, low: int, high: int) -> dict[str, Any]:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high, "description": description}


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(native_schema(), indent=2) + "\n")
