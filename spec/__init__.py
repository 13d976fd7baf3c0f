"""Training configs in, resolved sample specs out: one reader per trainer, all behind `read_spec`."""

from .model import SampleItem, SampleSpec, SpecError
from .readers import read_spec, read_text
from .templating import expand_prompts

__all__ = ["SampleItem", "SampleSpec", "SpecError", "expand_prompts", "read_spec", "read_text"]
