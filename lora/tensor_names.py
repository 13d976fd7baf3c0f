"""The names of a LoRA file's tensors, taken apart. The checkpoints of a run have the same, which are looked at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .header import Contents
from .names.text_encoders import encoder_by_width, is_text_encoder, names_no_encoder, saying
from .suffixes import DOWN, Split, split, split_own

#: How many files' names are remembered, here and where something else is found out from names alone.
KEPT = 8


@dataclass(frozen=True, eq=False)
class TensorNames:
    """What names and shapes alone tell of a file. Files of the same contents share one.

    Args:
        shapes: shape by name.
        endings: those that mean something in this file beside the common ones, see `Dialect.endings`.
    """

    shapes: Mapping[str, tuple[int, ...]]
    endings: Mapping[str, str]

    @cached_property
    def parts(self) -> Mapping[str, Split]:
        """Module and kind of each adapter tensor by its name. Tensors with another ending are not in it."""
        apart = {name: split_own(name, self.endings) or split(name) for name in self.shapes}
        return self._with_encoder({name: part for name, part in apart.items() if part is not None})

    def _with_encoder(self, parts: dict[str, Split]) -> dict[str, Split]:
        """The names taken apart, with the encoder in those of a text encoder's adapter that leave it out."""
        unsaid = {name: part for name, part in parts.items() if names_no_encoder(part.module)}
        downs = {part.module: self.shapes[name] for name, part in unsaid.items() if part.kind == DOWN}
        encoder = encoder_by_width({module: shape[1] for module, shape in downs.items() if shape[1:]})
        if encoder is None:
            return parts
        return parts | {name: part._replace(module=saying(encoder, part.module)) for name, part in unsaid.items()}

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Module names in the order of the file."""
        return tuple(dict.fromkeys(part.module for part in self.parts.values()))

    @cached_property
    def model_modules(self) -> tuple[str, ...]:
        """Those that are none of a text encoder."""
        return tuple(name for name in self.modules if not is_text_encoder(name))

    @cached_property
    def telling(self) -> tuple[str, ...]:
        """The modules by which the dialect is told: the model's where there are any, for text encoders may be named in
        another way."""
        return self.model_modules or self.modules

    @cached_property
    def telling_keys(self) -> tuple[str, ...]:
        """The names of their tensors."""
        modules = set(self.telling)
        return tuple(name for name, part in self.parts.items() if part.module in modules)


@lru_cache(maxsize=KEPT)
def tensor_names(contents: Contents, endings: tuple[tuple[str, str], ...]) -> TensorNames:
    """The names of a file's contents, taken apart with these endings: the same object each time."""
    return TensorNames(contents.shapes, dict(endings))
