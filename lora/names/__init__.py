"""Module names per family. A new family is one file and one line in this table."""

from __future__ import annotations

from . import flux, sd35, sdxl
from .table import MODEL, NameTable, Rows, Target

TABLES: dict[str, NameTable] = {"flux": flux.TABLE, "sd35": sd35.TABLE, "sdxl": sdxl.TABLE}
FAMILIES = tuple(TABLES)

__all__ = ["FAMILIES", "MODEL", "TABLES", "NameTable", "Rows", "Target"]
