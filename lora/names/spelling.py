"""Finds the place of a module name: known prefixes, one inside the other, before any name of the model's table.

Who writes a file decides the prefix, the naming, the spelling (words joined by dots or, after kohya's kind of prefix,
by underscores) and the ending, each for itself. So each is known by itself, and every combination is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .table import NameTable, Target

_PREFIXES: Final = (
    *("base_model.model", "base_model", "model.diffusion_model", "diffusion_model", "model", "module"),
    *("transformer", "unet", "lora_transformer", "lora_unet", "lycoris", "lora", "pipe.dit", "dit", "net"),
)
#: Put around a module by torch.compile, FSDP and activation checkpointing, anywhere in a name.
_WRAPPERS: Final = re.compile(r"(?:^|(?<=[._]))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)[._]")
_FLAT: Final = re.compile(r"(?:lora_(?:unet|transformer)|lycoris)_")
_HEADS: Final = {
    ".": re.compile(rf"(?:{'|'.join(map(re.escape, _PREFIXES))})\."),
    "_": re.compile(rf"(?!transformer_blocks_)(?:{'|'.join(prefix.replace('.', '_') for prefix in _PREFIXES)})_"),
}
_OUT: Final = re.compile(r"([._])to_out$")


def place_of(module: str, names: NameTable) -> Target | None:
    """The place in ComfyUI of a module named in any known way; None when the family has no such module."""
    found = (names.find(name, separator) for name, separator in _spellings(module))
    return next((target for target in found if target is not None), None)


def unwrapped(module: str) -> str:
    """A module name without the words that wrappers of torch put into it."""
    return _WRAPPERS.sub("", module)


def _spellings(module: str) -> Iterator[tuple[str, str]]:
    """The name and what joins its words, with fewer and fewer prefixes."""
    name = unwrapped(module).rstrip("_").removesuffix(".weight")
    separator = "_" if "." not in name or _FLAT.match(name) else "."
    name = name.replace(".", separator)
    while True:
        yield name, separator
        # diffusers' attention processors, whose out projection had no number at first
        yield _OUT.sub(r"\1to_out\g<1>0", name.replace(f"processor{separator}", "")), separator
        prefix = _HEADS[separator].match(name)
        if prefix is None:
            return
        name = name[prefix.end() :]
