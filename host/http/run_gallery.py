"""The route that writes a run's gallery into ComfyUI's output folder."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import folder_paths
from aiohttp import web

from ...compare.axes import Variant
from ...compare.collection import Collection, Place, Shot, read_collection
from ...errors import CompareError, ImagesError, RequestError
from ...gallery.marks import KeptMarks
from ...gallery.write import Written, write_gallery
from ...images.template import safe_name
from ...spec import SampleSpec
from ...whole_files import written_at
from ...workflows.requests import GalleryRequest
from ..paths import leading_inside, without_folders
from .own_samples import own_of
from .routes import Routes, read_body
from .run_config import Place as Run
from .run_config import place_of, spec_of_run
from .runs_routes import pictures_of

#: One gallery at a time: its pictures are made small by several threads.
_WRITING: Final = asyncio.Lock()


async def _gallery(request: web.Request) -> web.Response:
    """PUT /eridiffusion/run-gallery/{name}"""
    body = await read_body(request, GalleryRequest)
    async with _WRITING:
        return web.json_response(await asyncio.to_thread(_write, request.match_info["name"], body))


def _write(name: str, body: GalleryRequest) -> dict[str, Any]:
    """Write it; where it is. RequestError 404 without a run, 409 without pictures, 422 where it cannot be written."""
    run = place_of(name)
    spec = spec_of_run(run)
    output = Path(folder_paths.get_output_directory())
    root = output / safe_name(spec.name)
    folder = root / "gallery"
    if len(leading_inside([root, folder], [output])) < 2:
        raise RequestError(403, "outside", f"{folder.name} is a link out of ComfyUI's output folder", field="name")
    try:
        found = _found(run, spec, root)
        marks = KeptMarks(found, run.memory).all()
        done = write_gallery(found, folder, link=True, animation=body.animation, marks=marks)
    except CompareError as error:
        raise RequestError(409, "no_gallery", str(error)) from error
    except OSError as error:
        remedy = "Free space on the disk, or let ComfyUI write into its output folder."
        raise RequestError(422, "not_written", f"the disk refuses it ({error.strerror})", remedy=remedy) from error
    return _told(done, output)


def _found(run: Run, spec: SampleSpec, root: Path) -> Collection:
    """The run's pictures as the sidebar knows them, by name, further ones by what they say, and the trainer's own."""
    run_facts = {"run": spec.name, "trainer": spec.trainer, "family": spec.family}
    items = {item.index: vars(item) for item in spec.items}
    named = [
        Shot(path, Place("", step, index), {**items[index], **run_facts}, Variant(), written)
        for (step, index), path in pictures_of(spec).items()
        if (written := written_at(path)) is not None
    ]
    found = read_collection(root, more=named)
    output = [Path(folder_paths.get_output_directory())]
    pictures = {place: path for place, path in found.pictures.items() if leading_inside([path], output)}
    theirs, notes = {}, found.notes
    try:
        theirs = {place: sample.path for place, sample in own_of(run, spec).items() if not sample.problem}
    except ImagesError as error:
        notes = (*notes, f"The trainer's own samples were left out: {error}")
    return replace(found, pictures=pictures, theirs=theirs, notes=notes)


def _told(done: Written, output: Path) -> dict[str, Any]:
    return {
        "page": done.page.relative_to(output).as_posix(),
        "pictures": done.pictures,
        "made": done.made,
        "notes": [without_folders(note) for note in done.notes],
    }


ROUTES: Final[Routes] = (("PUT", "/run-gallery/{name:(?s:.+)}", _gallery),)
