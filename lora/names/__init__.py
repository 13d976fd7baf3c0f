"""Module names per family: a file for each, which the family's own file in `families/` names."""

from __future__ import annotations

from .table import MODEL, NameTable, Rows, Target

__all__ = ["MODEL", "NameTable", "Rows", "Target"]
