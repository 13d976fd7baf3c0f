"""Where a client of ComfyUI puts control images."""

from typing import Final

#: Folder below ComfyUI's input folder.
UPLOADS: Final = "eridiffusion"
