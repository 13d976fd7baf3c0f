"""The one error type of this area."""

from __future__ import annotations


class ImagesError(ValueError):
    """A picture that cannot be placed, converted or written: what is wrong, where, and what to do."""
