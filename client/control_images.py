"""Control images of this machine: brought to ComfyUI under names that tell nothing of their folders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import aiohttp

from ..protocol.control_images import UPLOADS
from ..spec import SampleSpec
from .host_client import HostClient


def named_by_content(spec: SampleSpec) -> tuple[SampleSpec, dict[str, Path]]:
    """The spec with every control image that is on this machine called by its content, and the files by these names.

    One is looked for beside the config, then where its name leads from the working folder. What is not here keeps its
    name: ComfyUI looks for it itself.
    """
    files: dict[str, Path] = {}
    items = []
    for item in spec.items:
        path = None if item.control_image is None else _here(spec, item.control_image)
        if path is not None:
            name = content_name(path)
            files[name] = path
            item = replace(item, control_image=name)
        items.append(item)
    return (replace(spec, items=items), files) if files else (spec, files)


def content_name(path: Path) -> str:
    """What a file is called in ComfyUI's folders: by its content."""
    return f"{UPLOADS}/{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}{path.suffix.lower()}"


async def upload(client: HostClient, files: Mapping[str, Path], folder: str = "input") -> None:
    """Put files into ComfyUI's folder "input" or "temp" under these names; raises HostError, OSError."""
    for name, path in files.items():
        target = PurePosixPath(name)
        form = aiohttp.FormData({"subfolder": str(target.parent), "type": folder, "overwrite": "true"})
        form.add_field("image", path.read_bytes(), filename=target.name)
        await client.send_form("/upload/image", form)


def _here(spec: SampleSpec, name: str) -> Path | None:
    plain = name.replace("\\", "/")
    return next((path for path in (Path(spec.source).parent / plain, Path(plain)) if path.is_file()), None)
