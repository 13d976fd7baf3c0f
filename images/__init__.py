"""Pictures on disk and on one sheet: each trainer's file layout, atomic saving with metadata, contact sheets.

It needs only Pillow and numpy. The nodes and the command line use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from ..errors import ImagesError
    from .files import SavedImage, save_image
    from .layouts import LAYOUTS, SampleFile, layout_for, relative_path, sample_name
    from .names import safe_name
    from .pixels import to_array, to_image
    from .sheet import contact_sheet
    from .template import Layout

__all__ = [
    "LAYOUTS",
    "ImagesError",
    "Layout",
    "SampleFile",
    "SavedImage",
    "contact_sheet",
    "layout_for",
    "relative_path",
    "safe_name",
    "sample_name",
    "save_image",
    "to_array",
    "to_image",
]

__getattr__ = attach(
    __name__,
    {
        "LAYOUTS": ".layouts",
        "ImagesError": "..errors",
        "Layout": ".template",
        "SampleFile": ".layouts",
        "SavedImage": ".files",
        "contact_sheet": ".sheet",
        "layout_for": ".layouts",
        "relative_path": ".layouts",
        "safe_name": ".names",
        "sample_name": ".layouts",
        "save_image": ".files",
        "to_array": ".pixels",
        "to_image": ".pixels",
    },
)
