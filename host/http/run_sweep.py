"""The route that plans a sweep of a run: which pictures there are of it, and which are to be made."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any, Final

import folder_paths
from aiohttp import web

from ...compare.axes import Value, variants
from ...compare.collection import Place, read_collection
from ...compare.values import OPTIONS, axes_of, read_values
from ...errors import CompareError, LoraError, NoPicturesError, RequestError
from ...images.template import safe_name
from ...lora import select_steps
from ...spec import SampleSpec
from ...workflows.requests import SweepRequest
from ..paths import leading_inside
from .routes import Routes, read_body
from .run_config import place_of, spec_of_run

#: A sweep of more pictures is `eri sweep`'s work.
_MOST: Final = 10_000


async def _sweep(request: web.Request) -> web.Response:
    """POST /eridiffusion/run-sweep/{name}"""
    body = await read_body(request, SweepRequest)
    return web.json_response(await asyncio.to_thread(_plan, request.match_info["name"], body))


def _plan(name: str, body: SweepRequest) -> dict[str, Any]:
    """The variants, and the cells that lack a picture. RequestError 400 naming the field, 404 without a run."""
    run = place_of(name)
    spec = spec_of_run(run)
    try:
        steps = select_steps(run.checkpoints, body.steps)
    except LoraError as error:
        raise RequestError(400, "steps", str(error), field="steps") from error
    values = _values(spec, body)
    count = math.prod(map(len, values.values())) * len(steps) * len(spec.items)
    if count > _MOST:
        problem = f"{count} pictures are more than {_MOST}"
        raise RequestError(400, "large", problem, remedy="Take fewer steps or values.")
    there, chosen = _there(spec), variants(values)
    cells = [
        {"variant": number, "step": step, "item": item.index}
        for number, variant in enumerate(chosen)
        for step in steps
        for item in spec.items
        if Place(variant.key, step, item.index) not in there
    ]
    told = [
        {"key": one.key, "title": one.title, "axes": {axis: str(value) for axis, value in one.values.items()}}
        for one in chosen
    ]
    return {"variants": told, "steps": steps, "cells": cells, "there": count - len(cells)}


def _values(spec: SampleSpec, body: SweepRequest) -> dict[str, list[Value]]:
    values: dict[str, list[Value]] = {}
    for axis, text in body.axes.items():
        if OPTIONS[axis] not in axes_of(spec):
            problem = "it changes nothing on this model"
            raise RequestError(400, "axis", problem, field=axis, remedy="Leave it empty.")
        try:
            values |= read_values(spec, {axis: text})
        except CompareError as error:
            problem = f"{text!r}: {error.problem}"
            raise RequestError(400, "axis", problem, field=axis, remedy=error.remedy or "") from error
    return values


def _there(spec: SampleSpec) -> set[Place]:
    """The cells of the run that have a picture. CompareError where its manifest cannot be read."""
    output = Path(folder_paths.get_output_directory())
    try:
        found = read_collection(output / safe_name(spec.name))
    except NoPicturesError:
        return set()  # nothing was made so far
    return {place for place, path in found.pictures.items() if leading_inside([path], [output])}


ROUTES: Final[Routes] = (("POST", "/run-sweep/{name:(?s:.+)}", _sweep),)
