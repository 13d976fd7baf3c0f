"""Training configs in, resolved sample specs out: one reader per trainer, all behind `read_spec`."""

from .model import SampleItem, SampleSpec, SpecError
from .readers import read_spec, read_text

__all__ = ["SampleItem", "SampleSpec", "SpecError", "read_spec", "read_text"]
