"""LyCORIS as SimpleTuner saves it: `lycoris_` and diffusers' names, dots as underscores; any LyCORIS algorithm.

Source: github bghira/SimpleTuner (adapters through github KohakuBlueleaf/LyCORIS, lycoris/wrapper.py).
"""

from __future__ import annotations

import re

from ..names import NameTable, Target
from .base import Dialect

_PREFIX = "lycoris_"
_SEPARATOR = "_"


class Lycoris(Dialect):
    """`lycoris_` and diffusers' (or, from native models, native) module names."""

    name = "lycoris"
    modules = re.compile(_PREFIX)

    def target(self, module: str, names: NameTable) -> Target | None:
        if not module.startswith(_PREFIX):
            return None
        name = module.removeprefix(_PREFIX)
        return names.diffusers(name, _SEPARATOR) or names.native(name, _SEPARATOR)
