"""A loaded model's family, by its class in ComfyUI."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.model_base

from ..families import FAMILIES, Family


@cache
def _classes() -> dict[type, Family]:
    """ComfyUI's class -> family; a ComfyUI that does not know a model has no class for it."""
    named = ((name, family) for family in FAMILIES.values() for name in family.model_classes)
    return {getattr(comfy.model_base, name): family for name, family in named if hasattr(comfy.model_base, name)}


def family_of(model: Any) -> Family | None:
    """The family of a MODEL, None for every other model.

    The class must be the very one: Flux.2, Chroma and others derive from Flux in ComfyUI, and are other models.
    """
    return _classes().get(type(model.model))


def class_of(model: Any) -> str:
    """What ComfyUI calls a MODEL's class, for messages."""
    return type(model.model).__name__
