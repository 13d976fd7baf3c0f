"""What a model family has to say of itself: everything that the rest of the pack asks about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .profile import Profile


@dataclass(frozen=True)
class Variant:
    """One of a family's published models.

    Args:
        id: our word for it, as in a config's `variant`.
        named: pattern that a base model's name in a config has for this variant; slashes are "/", letters small.
        guidance_note: what to tell a person who sets a guidance value that this variant ignores, "" where it does not.
    """

    id: str
    named: str
    guidance_note: str = ""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model family. Only what most families lack has a default.

    Args:
        id: our word for it in configs, graphs and on the command line.
        title: its name for people.
        variants: its published models, in the order in which a name is compared with them.
        embedded_guidance: whether a config's one guidance number is fed to the model (True) or is the scale of
            classifier-free guidance (False).
        reference: how its authors' own code samples it; a trainer's row says what differs from that.
    """

    id: str
    title: str
    variants: tuple[Variant, ...]
    embedded_guidance: bool
    reference: Profile

    def variant_of(self, name: str) -> str | None:
        """The variant that a base model's name or path tells, None where it tells none."""
        words = name.replace("\\", "/").lower()
        return next((variant.id for variant in self.variants if re.search(variant.named, words)), None)

    def guidance_fields(self, value: float) -> tuple[float, float | None]:
        """A config's one guidance number as `cfg_scale, guidance`."""
        return (1.0, value) if self.embedded_guidance else (value, None)

    def guidance_note(self, variant: str | None) -> str:
        """Why a guidance value has no effect on this variant, "" where it has one."""
        return next((known.guidance_note for known in self.variants if known.id == variant), "")
