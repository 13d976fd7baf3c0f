"""What a LoRA is for when it is for none of the supported families, by names that only the other model has."""

from __future__ import annotations

import re
from functools import lru_cache

from ..errors import LoraError, shorten
from ..families import FAMILIES
from ..families.others import OTHERS
from .metadata import LoraFile


@lru_cache(maxsize=64)  # the checkpoints of a run have the same names
def other_model(modules: tuple[str, ...]) -> tuple[str, str] | None:
    """The unsupported model that the names can only belong to, and one of those names; None when there is none."""
    spellings = [(module, module.replace(".", "_")) for module in modules]
    for other in (known for known in OTHERS if known.modules):
        pattern = re.compile(other.modules)
        for spelling in spellings:
            if any(pattern.search(name) for name in spelling):
                return other.title, spelling[0]
    return None


def refuse_other_models(file: LoraFile) -> None:
    """Raise LoraError when the names can only belong to a model that is not supported; it says which."""
    other = other_model(file.model_modules)
    if other is not None:
        model, module = other
        raise LoraError(
            f"is a LoRA for {model}, none of the supported families",
            path=file.path,
            keys=[module],
            remedy=f"Supported are {shorten(FAMILIES)}",
        )
