"""The work behind `eri verify`: the trainer's samples beside the same made again; numbers, a sheet, a report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..errors import ImagesError
from ..spec import SampleItem, SampleSpec
from ..trainers.claims import OF_SAMPLING
from ..workflows.parity import explain
from ..workflows.verdict import verdict
from .trainer_runs import Problems, StepSamples

if TYPE_CHECKING:
    from PIL import Image

    from ..images.compare import Comparison

#: The worst first.
_OUTCOMES: Final = ("different", "close", "same picture")
_KINDS: Final = ("different", "not checked", "close")
#: What a report says of an item beside its size; the prompt stays away.
_SETTINGS: Final = ("seed", "steps", "cfg_scale", "guidance", "sampler", "lora_scale")
_COLUMNS: Final = ("the trainer's", "made again", "difference, {} times")


@dataclass(frozen=True)
class Pictures:
    """The trainer's samples of a step, opened.

    Args:
        step: the training step.
        theirs: those that can be compared, by item index.
        sizes: those of another size than the config gives, with a sentence; they differ.
        problems: why the others cannot be compared.
    """

    step: int
    theirs: dict[int, Image.Image]
    sizes: dict[int, str]
    problems: Problems


@dataclass(frozen=True)
class Result:
    """What came of it.

    Args:
        spec: the config, every item of it.
        step: the training step.
        compared: by item index.
        sizes, problems: see `Pictures`.
        instead: sentences on what was loaded in place of the base model that the config names.
        comfyui: the version that made the pictures again, None = all were there already.
    """

    spec: SampleSpec
    step: int
    compared: dict[int, Comparison]
    sizes: dict[int, str] = field(default_factory=dict)
    problems: Problems = field(default_factory=dict)
    instead: tuple[str, ...] = ()
    comfyui: str | None = None

    @property
    def outcome(self) -> str:
        """The worst of all pictures: "different", "close" or "same picture"."""
        outcomes = {one.outcome for one in self.compared.values()} | ({"different"} if self.sizes else set())
        return next(one for one in _OUTCOMES if one in outcomes)

    @property
    def text(self) -> str:
        """The verdict on all pictures as people read it."""
        far = max((one.largest for one in self.compared.values()), default=0)
        return f"close ({far} of 255)" if self.outcome == "close" else self.outcome

    def items(self) -> list[SampleItem]:
        """The items that were compared, or differ in size."""
        return [item for item in self.spec.items if item.index in self.compared or item.index in self.sizes]

    def reasons(self, item: SampleItem) -> list[str]:
        """The topics of `eri explain` that can be the reason why an item's picture differs, the likeliest first."""
        if item.index in self.sizes:
            return ["size"]
        if self.compared[item.index].outcome == "same picture":
            return []
        matches = [match for match in explain(self.spec.part([item]), self.instead) if match.topic in OF_SAMPLING]
        unsure = [match for match in matches if match.kind != "exact"]
        unsure.sort(key=lambda match: _KINDS.index(match.kind) if match.kind in _KINDS else len(_KINDS))
        return list(dict.fromkeys(match.topic for match in unsure))


def open_pictures(spec: SampleSpec, samples: StepSamples) -> Pictures:
    """Open the trainer's samples, and set those aside that cannot be compared. ImagesError where none is left."""
    from ..images.compare import is_copy, read_picture

    pictures = Pictures(samples.step, {}, {}, dict(samples.problems))
    for item in spec.items:
        path = samples.paths.get(item.index)
        if path is None:
            continue
        try:
            picture = read_picture(path)
        except ImagesError as error:
            pictures.problems[item.index] = f"the trainer's picture {error.problem}"
            continue
        if is_copy(picture.size, (item.width, item.height)):
            pictures.theirs[item.index] = picture
        else:
            pictures.sizes[item.index] = (
                f"the trainer's picture is {picture.width} x {picture.height}, the config gives "
                f"{item.width} x {item.height}"
            )
    if not (pictures.theirs or pictures.sizes):
        said = "; ".join(f"item {index}: {why}" for index, why in sorted(pictures.problems.items()))
        raise ImagesError(f"nothing of step {samples.step} can be compared: {said}")
    return pictures


def compare_samples(spec: SampleSpec, pictures: Pictures, made: Mapping[str, Any] | None) -> Result:
    """Compare the trainer's samples with the pictures that were made again.

    made: what there is of them (`jobs.document_of`), None where none was to be made.
    """
    from ..images.compare import compare_pictures, read_picture

    made = made or {"images": [], "instead": []}
    ours = {image["index"]: Path(image["path"]) for image in made["images"]}
    compared = {
        index: compare_pictures(theirs, read_picture(ours[index])) for index, theirs in pictures.theirs.items()
    }
    instead, comfyui = tuple(made["instead"]), made.get("comfyui")
    return Result(spec, pictures.step, compared, pictures.sizes, pictures.problems, instead, comfyui)


def report(result: Result) -> dict[str, Any]:
    """What came of it as JSON types, without prompts, paths and names of runs and files: for a bug report."""
    spec = result.spec
    matches = explain(spec)
    return {
        "verdict": result.outcome,
        "text": result.text,
        "trainer": spec.trainer,
        "family": spec.family,
        "variant": spec.variant,
        "precision": spec.precision,
        "step": result.step,
        "pictures": [_picture(result, item) for item in result.items()],
        "not_compared": [{"index": index, "why": why} for index, why in sorted(result.problems.items())],
        "other_base_model": bool(result.instead),
        "expected": verdict(spec, matches).to_dict(),
        "claims": [{"topic": match.topic, "kind": match.kind} for match in matches],
        "versions": {
            "system": platform.system(),
            "python": platform.python_version(),
            **_versions(),
            "comfyui": result.comfyui,
        },
    }


def _picture(result: Result, item: SampleItem) -> dict[str, Any]:
    found = result.compared.get(item.index)
    return {
        "index": item.index,
        "verdict": found.outcome if found else "different",
        "largest": found.largest if found else None,
        "mean": round(found.mean, 5) if found else None,
        "ssim": round(found.ssim, 5) if found else None,
        "shown_as": found.shown_as if found else None,
        "why": result.sizes.get(item.index, ""),
        "reasons": result.reasons(item),
        "size": [item.width, item.height],
        **{name: getattr(item, name) for name in _SETTINGS},
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in ("eridiffusion", "torch", "Pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def write_sheets(result: Result, root: Path) -> Path | None:
    """Write the difference pictures and a sheet theirs | ours | difference into `root`; returns the sheet's file.

    None where no picture was compared. Raises ImagesError.
    """
    from ..images.compare import MAGNIFIED
    from ..images.files import save_image
    from ..images.sheet import contact_sheet

    if not result.compared:
        return None
    name = f"verify_step_{result.step:06}"
    pictures: list[Image.Image] = []
    rows = []
    for item in result.spec.items:
        found = result.compared.get(item.index)
        if found is not None:
            save_image(found.difference, root, PurePosixPath(f"{name}/difference_{item.index:02}.png"))
            pictures += [found.theirs, found.ours, found.difference]
            numbers = f"largest {found.largest}, mean {found.mean:.3g} of 255, SSIM {found.ssim:.4f}"
            rows.append(f"{item.index}: {item.prompt} – {found.text}, {numbers}")
    columns = [column.format(MAGNIFIED) for column in _COLUMNS]
    title = f"{result.spec.name}, step {result.step} ({result.spec.trainer}, {result.spec.family}): {result.text}"
    return save_image(contact_sheet(pictures, rows, columns, title), root, PurePosixPath(f"{name}.png")).path
