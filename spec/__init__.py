"""What a training run will sample: `SampleSpec`, and `read_spec`, which reads any supported trainer's config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from ..errors import SpecError
    from .model import SampleItem, SampleSpec
    from .readers import from_json, read_spec, read_text
    from .templating import expand_prompts

__all__ = ["SampleItem", "SampleSpec", "SpecError", "expand_prompts", "from_json", "read_spec", "read_text"]

__getattr__ = attach(
    __name__,
    {
        "..errors": ("SpecError",),
        ".model": ("SampleItem", "SampleSpec"),
        ".readers": ("from_json", "read_spec", "read_text"),
        ".templating": ("expand_prompts",),
    },
)
