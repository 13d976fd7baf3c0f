"""Known names behind known prefixes in a combination that no known trainer writes; any endings, alphas as tensors."""

from __future__ import annotations

from ...families import FAMILIES
from ..metadata import LoraFile
from ..names.spelling import place_of
from ..names.text_encoders import target_of
from .base import Dialect


class Prefixed(Dialect):
    """Whatever names a module of some family."""

    name = "prefixed"

    def recognises(self, file: LoraFile) -> bool:
        return any(
            target_of(module) or any(place_of(module, family.names) for family in FAMILIES.values())
            for module in file.telling
        )
