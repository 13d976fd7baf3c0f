"""One file for each model family, with all that is known of it, and one line for it here."""

from __future__ import annotations

from typing import Final

from .chroma import FAMILY as CHROMA
from .encoders import ModelFile
from .family import CLIP_LOADERS, Family
from .flux import FAMILY as FLUX
from .sd35 import FAMILY as SD35
from .sdxl import FAMILY as SDXL

#: The supported families by id, in the order in which people read them.
FAMILIES: Final[dict[str, Family]] = {family.id: family for family in (FLUX, SD35, SDXL, CHROMA)}
#: Their text encoders by id.
ENCODERS: Final = {encoder.id: encoder for family in FAMILIES.values() for encoder in family.encoders}
#: The families' published files by name.
DOWNLOADS: Final[dict[str, ModelFile]] = {
    file.name: file for family in FAMILIES.values() for file in family.model_files
}


def download(file: str) -> dict[str, str] | None:
    """The front end's entry for a model file `{name, url, directory}`, None where no source is known."""
    found = DOWNLOADS.get(file)
    return None if found is None else {"name": file, "url": found.url, "directory": found.folder}


__all__ = ["CHROMA", "CLIP_LOADERS", "ENCODERS", "FAMILIES", "FLUX", "SD35", "SDXL", "Family", "download"]
