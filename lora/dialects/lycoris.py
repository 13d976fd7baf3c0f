"""LyCORIS as SimpleTuner saves it: `lycoris_` and diffusers' names, dots as underscores; any LyCORIS algorithm.

Source: github bghira/SimpleTuner (adapters through github KohakuBlueleaf/LyCORIS, lycoris/wrapper.py).
"""

from __future__ import annotations

import re

from .base import Dialect


class Lycoris(Dialect):
    """`lycoris_` and diffusers' (or, from native models, native) module names."""

    name = "lycoris"
    modules = re.compile("lycoris_")
