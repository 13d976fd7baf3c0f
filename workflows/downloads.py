"""Where the families' model files can be had: the front end offers them for download when they are missing."""

from __future__ import annotations

from typing import Final

from ..families import FAMILIES
from ..families.encoders import ModelFile

#: The families' published files by name.
DOWNLOADS: Final[dict[str, ModelFile]] = {
    file.name: file for family in FAMILIES.values() for file in family.model_files
}


def download(file: str) -> dict[str, str] | None:
    """The front end's entry for a model file `{name, url, directory}`, None where no source is known."""
    found = DOWNLOADS.get(file)
    return None if found is None else {"name": file, "url": found.url, "directory": found.folder}
