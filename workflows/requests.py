"""What a trainer may ask of the routes under /eridiffusion: checked requests, and their graphs. Opens no file."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..compare.values import variant_of
from ..compare.votes import Choice
from ..errors import CompareError, RequestError
from ..spec import SampleSpec
from ..spec.readers import TEXT, read_text
from .batch import MAX_BATCH
from .builder import Workflow, build
from .choose import Described, Offered
from .placed import placed
from .run_memory import MAX_NOTE, Mark

#: Largest request body in bytes; a config has no more than this either.
MAX_BODY: Final = 4 << 20

_Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
#: JSON has no other.
_Number = Annotated[float, Field(allow_inf_nan=False)]
#: An axis of a sweep whose values are a sample's own.
_Axis = Literal["strength", "seed", "cfg", "guidance", "sampler"]


class _Strict(BaseModel):
    """No field but the listed ones, and no value of another type: "8" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Loader(_Strict):
    """A node that loads one part of a model."""

    class_type: _Text
    inputs: dict[str, bool | int | _Number | str] = {}
    output: Annotated[int, Field(ge=0)] = 0


class ModelDescription(_Strict):
    """As a file for `eri … --models`: names that the host offers, or loader nodes; see `models.read_models`."""

    family: _Text | None = None
    files: dict[str, str | None] | None = None
    loaders: dict[str, Loader] | None = None


class GraphRequest(_Strict):
    """A config's text, and which graph of it is wanted.

    source: what to call it in messages; its suffix tells the notation. files: texts of the files that the config
    names, by the name written there. items: indices like "0,2-4", "" = all. models None = chosen from what the host
    offers. run, step, style, batch: as for `build`. axes: of a sweep's variant, one value each.
    """

    config: Annotated[str, Field(min_length=1)]
    source: _Text | None = None
    files: dict[str, str] = {}
    trainer: _Text | None = None
    family: _Text | None = None
    items: Annotated[str, Field(max_length=10_000)] = ""
    models: ModelDescription | None = None
    run: _Text | None = None
    step: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    style: Literal["eri", "stock"] = "eri"
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1
    axes: dict[_Axis, _Text] = {}


class QueueRequest(GraphRequest):
    """A graph to be run. client_id: whose WebSocket gets the progress. front: before what waits already."""

    client_id: _Text | None = None
    front: bool = False


class SweepRequest(_Strict):
    """A run's samples at these steps ("all", "250, 500-"), for each choice of values ("0.6, 1") of the axes."""

    steps: Annotated[str, Field(max_length=10_000)] = "all"
    axes: dict[_Axis, _Text] = {}


class ConfigOfRun(_Strict):
    """The config that a run is to have: a file's name, or a text with the files that it names; neither forgets it."""

    file: _Text | None = None
    config: Annotated[str, Field(min_length=1)] | None = None
    source: _Text | None = None
    files: dict[str, str] = {}
    trainer: _Text | None = None
    family: _Text | None = None


class MarkRequest(_Strict):
    """What a person thinks of a sample; no mark takes it away."""

    step: Annotated[int, Field(ge=0, lt=2**31)]
    item: Annotated[int, Field(ge=0, lt=2**31)]
    mark: Mark | None = None


class GalleryRequest(_Strict):
    """How a run's gallery is to be written."""

    animation: Literal["webp", "gif", "none"] = "webp"


class NoteRequest(_Strict):
    """What a person writes about a sample; an empty text takes it away."""

    step: Annotated[int, Field(ge=0, lt=2**31)]
    item: Annotated[int, Field(ge=0, lt=2**31)]
    note: Annotated[str, Field(max_length=MAX_NOTE)]


class Side(_Strict):
    """One of two pictures: its training step (null = the newest, of unknown step) and the values of a sweep."""

    step: Annotated[int, Field(ge=0, lt=2**31)] | None
    axes: Annotated[dict[str, str | int | float], Field(max_length=20)] = {}


class VoteRequest(_Strict):
    """Which of two pictures of a prompt and seed a person prefers; null takes the vote of the same moment back."""

    version: Literal[1] = 1
    run: _Text
    voter: Annotated[str, Field(max_length=100)] = ""
    made: Annotated[str, Field(min_length=1, max_length=40)]
    item: Annotated[int, Field(ge=0, lt=2**31)]
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None
    left: Side
    right: Side
    vote: Choice


Request = TypeVar("Request", bound=_Strict)


def read_request(kind: type[Request], body: bytes) -> Request:
    """A request of this kind from its JSON; RequestError 400 naming the field where it is not of that form."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        remedy = f"Known fields: {', '.join(kind.model_fields)}." if first["type"] == "extra_forbidden" else ""
        raise RequestError(400, "request", first["msg"], remedy=remedy, field=field) from error


def spec_of(config: str, request: GraphRequest | ConfigOfRun) -> SampleSpec:
    """The spec in a config's text, which came with what else the request says of it. Raises SpecError."""
    source = PurePosixPath(request.source.replace("\\", "/")).name if request.source else TEXT
    return read_text(config, request.trainer, request.family, source=source or TEXT, files=request.files)


def graph_for(request: GraphRequest, run: str | None, offered: Offered | None, described: Described) -> Workflow:
    """The graph that a request means.

    run: the request's run under the name that the host knows. offered: the host's files, for a request without models.
    described: the host's descriptions beside these.
    Raises SpecError for the config, RequestError for the axes and WorkflowError for the rest.
    """
    spec = spec_of(request.config, request)
    models: dict[str, Any] | None = None if request.models is None else request.models.model_dump(exclude_none=True)
    try:
        variant = variant_of(spec, {str(axis): value for axis, value in request.axes.items()})
    except CompareError as error:
        raise RequestError(400, "axis", error.problem, field="axes", remedy=error.remedy or "") from error
    spec = variant.of(spec.select(request.items))
    workflow = build(
        spec, models, run, request.step, request.style, offered=offered, described=described, batch=request.batch
    )
    return placed(workflow, variant.key) if variant.key else workflow
