"""Module names of the text encoders CLIP-L, CLIP-G and T5-XXL, as ComfyUI's CLIP object and as the trainers have them.

The encoder's number in a file differs between trainers and families (`te1` is CLIP-L or T5, `te2` CLIP-G or T5), but
the names below it tell T5 apart, so no family is needed. Source: github comfyanonymous/ComfyUI, comfy/lora.py
`model_lora_keys_clip`; OneTrainer's `clip_l.`, `clip_g.` and `t5.`: Nerogar/OneTrainer@de1437cb~1,
modules/util/convert/lora/convert_sd3_lora.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .spelling import unwrapped
from .table import Target

HOST_PREFIX: Final = "text_encoders."

_HOST: Final = re.compile(r"text_encoders\.(clip_l|clip_g|t5xxl)\.transformer\.(?P<module>.+)$")
_PREFIX: Final = re.compile(
    r"(?:(?:lora_)?te(?P<kohya>[123])?[._]|(?:lora_)?text_encoder(?:_(?P<diffusers>[23]))?[._]"
    r"|(?:text_encoders\.)?(?P<named>clip_l|clip_g|t5xxl|t5)\.(?:transformer\.)?)"
)
_WRAPPER: Final = "base_model.model."
_BY_NUMBER: Final = {"1": "clip_l", "2": "clip_g"}


def _patterns(*pairs: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Patterns of a module whose words are joined by dots or underscores, and the name in ComfyUI."""
    return tuple((re.compile(pattern.replace(".", "[._]") + "$"), name) for pattern, name in pairs)


_CLIP: Final = _patterns(
    (r"(?:text_model.)?encoder.layers.(\d+).self_attn.(?:to_)?(q|k|v|out)(?:_proj)?",
     r"text_model.encoder.layers.\1.self_attn.\2_proj"),
    (r"(?:text_model.)?encoder.layers.(\d+).mlp.(fc[12])", r"text_model.encoder.layers.\1.mlp.\2"),
    (r"(?:text_model.)?encoder.layers.(\d+).(layer_norm[12])", r"text_model.encoder.layers.\1.\2"),
    (r"(?:text_model.)?(final_layer_norm)", r"text_model.\1"),
    (r"(?:text_model.)?embeddings.(token|position)_embedding", r"text_model.embeddings.\1_embedding"),
    (r"(text_projection)", r"\1"),
)  # fmt: skip
_T5: Final = _patterns(
    (r"encoder.block.(\d+).layer.(\d).(SelfAttention|DenseReluDense).(q|k|v|o|wi_0|wi_1|wi|wo|relative_attention_bias)",
     r"encoder.block.\1.layer.\2.\3.\4"),
    (r"encoder.block.(\d+).layer.(\d).layer_norm", r"encoder.block.\1.layer.\2.layer_norm"),
    (r"encoder.final_layer_norm", r"encoder.final_layer_norm"),
    (r"shared", r"shared"),
)  # fmt: skip


#: Width -> encoder, for the adapter of one encoder alone, whose names leave out which one it is.
_BY_WIDTH: Final = {768: "clip_l", 1280: "clip_g", 4096: "t5xxl"}
#: Modules whose input is as wide as the encoder.
_WIDE_IN: Final = re.compile(r"[._](?:(?:self_attn|SelfAttention)[._]\w+|fc1|wi(?:_[01])?)$")


def encoder_by_width(widths: Mapping[str, int]) -> str | None:
    """The encoder of modules that say none in their names, None where their widths are not those of one.

    widths: the inputs' widths by module name.
    """
    wide = {width for name, width in widths.items() if _WIDE_IN.search(name)}
    return _BY_WIDTH.get(wide.pop()) if len(wide) == 1 else None


def names_no_encoder(name: str) -> bool:
    """Whether a name is one of CLIP's or T5's modules and does not say of which encoder, as PEFT saves one alone."""
    module = name.removeprefix(_WRAPPER)
    if not module.startswith(("text_", "encoder", "shared")):  # nearly all names
        return False
    return not is_text_encoder(name) and (_known(module, _CLIP) or _known(module, _T5)) is not None


def saying(encoder: str, name: str) -> str:
    """The name with the encoder in it, behind PEFT's wrapper."""
    module = name.removeprefix(_WRAPPER)
    return f"{name[: len(name) - len(module)]}{encoder}.{module}"


def is_text_encoder(name: str) -> bool:
    """Whether a module name speaks of a text encoder, known to ComfyUI or not."""
    return name.startswith(HOST_PREFIX) or _PREFIX.match(_bare(name)) is not None


def target_of(name: str) -> Target | None:
    """The place of a text encoder's module, under ComfyUI's name or a trainer's; None for anything else.

    A PEFT wrapper around either (`text_encoder.base_model.model.…`) is looked through.
    """
    host = _HOST.match(name)
    if host is not None:
        return _target(host[1], host["module"])
    name = _bare(name)
    prefix = _PREFIX.match(name)
    if prefix is None:
        return None
    module = name[prefix.end() :].rstrip("_")
    named: str | None = prefix["named"]
    encoder = "t5xxl" if named == "t5" else named
    clip, t5 = _known(module, _CLIP), _known(module, _T5)
    if clip is not None:
        encoder = encoder or _BY_NUMBER.get(prefix["kohya"] or prefix["diffusers"] or "1")
        return None if encoder is None or encoder == "t5xxl" else _target(encoder, clip)
    return _target("t5xxl", t5) if t5 is not None and encoder in (None, "t5xxl") else None


def _bare(name: str) -> str:
    return unwrapped(name).replace(_WRAPPER, "")


def _known(module: str, names: tuple[tuple[re.Pattern[str], str], ...]) -> str | None:
    found = (match.expand(name) for pattern, name in names if (match := pattern.match(module)))
    return next(found, None)


def _target(encoder: str, module: str) -> Target:
    weight = f"{encoder}.transformer.{module}"
    return Target(name=HOST_PREFIX + weight, part=encoder, weight=weight)
