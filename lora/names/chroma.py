"""Module names of Chroma: Flux's without what the guidance layer replaced, and that layer's own.

Source: comfy/ldm/chroma/model.py (github comfyanonymous/ComfyUI); diffusers `ChromaTransformer2DModel`, whose names for
Chroma's own are in loaders/single_file_utils.py `convert_chroma_transformer_checkpoint_to_diffusers`.
"""

from __future__ import annotations

import re
from typing import Final

from . import flux
from .table import NameTable, Rule, same

#: Flux's modulation, and the embedders of time, pooled text and guidance that feed it.
_GONE: Final = re.compile(r"mod\.lin$|modulation\.lin$|^(?:time|vector|guidance)_in\.|adaLN_modulation")
_GUIDANCE: Final = "distilled_guidance_layer."
#: The norms carry no pairs; they can be trained whole.
_ENDS: Final = same(*(_GUIDANCE + name for name in ("in_proj", "out_proj", "norms.{}")))
_LAYERS: Final = (("linear_1", "in_layer"), ("linear_2", "out_layer"))


def _kept(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if isinstance(rule.native, str) and not _GONE.search(rule.native))


_NATIVE = (*_kept(flux.NATIVE), *_ENDS, *same(*(_GUIDANCE + "layers.{}." + native for _, native in _LAYERS)))
_DIFFUSERS = (
    *_kept(flux.DIFFUSERS),
    *_ENDS,
    *(Rule(_GUIDANCE + f"layers.{{}}.{name}", _GUIDANCE + f"layers.{{}}.{native}") for name, native in _LAYERS),
)
_KNOWN = {rule.source for rule in (*_NATIVE, *_DIFFUSERS)}
TABLE = NameTable(_NATIVE, _DIFFUSERS, {other: name for other, name in flux.OTHERS.items() if name in _KNOWN})
