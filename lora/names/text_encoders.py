"""Module names of the text encoders CLIP-L, CLIP-G and T5-XXL, as ComfyUI's CLIP object and as the trainers have them.

The encoder's number in a file differs between trainers and families (`te1` is CLIP-L or T5, `te2` CLIP-G or T5), but
the names below it tell T5 apart, so no family is needed. Source: github comfyanonymous/ComfyUI, comfy/lora.py
`model_lora_keys_clip`.
"""

from __future__ import annotations

import re

from .table import Target

HOST_PREFIX = "text_encoders."

_HOST = re.compile(r"text_encoders\.(clip_l|clip_g|t5xxl)\.transformer\.(?P<module>.+)$")
_CLIP = re.compile(r"(?:text_model[._])?encoder[._]layers[._](\d+)[._](self_attn|mlp)[._]((?:q|k|v|out)_proj|fc[12])$")
_T5 = re.compile(
    r"encoder[._]block[._](\d+)[._]layer[._](\d)[._](SelfAttention|DenseReluDense)[._](q|k|v|o|wi_0|wi_1|wi|wo)$"
)
_PREFIXES = re.compile(r"(?:lora_te(?P<kohya>[123])?_|text_encoder(?:_(?P<diffusers>[23]))?\.)(?P<module>.+)$")
_WRAPPER = "base_model.model."
_CLIP_BY_NUMBER = {"1": "clip_l", "2": "clip_g"}


def host_name(name: str) -> Target | None:
    """A name that is ComfyUI's already, `text_encoders.clip_l.transformer.…`; None for anything else."""
    match = _HOST.match(name)
    return None if match is None else _target(match[1], match["module"])


def trainer_name(name: str) -> Target | None:
    """kohya's `lora_te1_text_model_…`, `lora_te3_encoder_block_…` or diffusers' `text_encoder_2.…`; else None.

    A PEFT wrapper around either (`text_encoder.base_model.model.…`) is looked through.
    """
    match = _PREFIXES.match(name.replace(_WRAPPER, ""))
    if match is None:
        return None
    number, module = match["kohya"] or match["diffusers"] or "1", match["module"]
    encoder = _CLIP_BY_NUMBER.get(number)
    clip = _CLIP.match(module)
    if clip is not None and encoder is not None:
        return _target(encoder, f"text_model.encoder.layers.{clip[1]}.{clip[2]}.{clip[3]}")
    if module == "text_projection" and encoder is not None:
        return _target(encoder, module)
    t5 = _T5.match(module)
    if t5 is not None:
        return _target("t5xxl", f"encoder.block.{t5[1]}.layer.{t5[2]}.{t5[3]}.{t5[4]}")
    return None


def is_text_encoder(name: str) -> bool:
    """Whether a module name speaks of a text encoder, known to ComfyUI or not."""
    return name.removeprefix(_WRAPPER).startswith((HOST_PREFIX, "text_encoder.", "text_encoder_", "lora_te"))


def target_of(name: str) -> Target | None:
    """The place of a text encoder's module, under ComfyUI's, kohya's or diffusers' name; None for anything else."""
    return host_name(name) or trainer_name(name)


def _target(encoder: str, module: str) -> Target:
    weight = f"{encoder}.transformer.{module}"
    return Target(name=HOST_PREFIX + weight, part=encoder, weight=weight)
