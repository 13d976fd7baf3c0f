"""The pictures of a folder that a sweep made, by variant, training step and sample."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..errors import NoPicturesError, SpecError
from ..images.inner_texts import KEY, LORA, SUFFIXES, parsed, read_texts
from ..images.template import safe_name
from ..images.trainer_samples import own_samples
from ..spec import SampleItem, SampleSpec, from_json
from ..whole_files import written_at
from .axes import PLAIN, Variant, variant_named
from .json_lines import finite
from .manifest import read

#: The step of a picture that was made of the newest checkpoint, where nobody knows which that was.
NEWEST: Final = -1
#: A file of this name says that a folder is a gallery: its pictures are copies.
GALLERY_MARKER: Final = "eridiffusion-gallery.json"
_SPEC: Final = "eridiffusion_spec"
_SHOWN: Final = 6


class Place(NamedTuple):
    """Which cell a picture belongs to: its variant's key, the training step, the sample's index."""

    key: str
    step: int
    item: int


@dataclass(frozen=True)
class CollectedItem:
    """A sample of the run as its pictures say it. seed: of the variant without axes, None where pictures differ."""

    index: int
    prompt: str
    negative_prompt: str
    seed: int | None
    width: int
    height: int


@dataclass(frozen=True)
class Collection:
    """What a folder holds.

    Args:
        root: the run's folder of pictures.
        name, family, trainer: of the run.
        items: its samples, by index.
        steps: training steps with a picture, ascending; 0 = no LoRA, NEWEST = not known.
        variants: those with a picture; the one without axes first.
        pictures: where each picture is.
        theirs: (step, item index) -> the trainer's own picture of that prompt and seed, where its folder was named.
        notes: what was left out, and why.
    """

    root: Path
    name: str
    family: str
    trainer: str
    items: tuple[CollectedItem, ...]
    steps: tuple[int, ...]
    variants: tuple[Variant, ...]
    pictures: Mapping[Place, Path]
    theirs: Mapping[tuple[int, int], Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """A picture and what it says of itself.

    Args:
        facts: the fields of its sample and of its run, as Save Samples writes them.
        variant: under which settings.
        changed: when it was written, in nanoseconds.
    """

    path: Path
    place: Place
    facts: Mapping[str, Any]
    variant: Variant
    changed: int

    def item(self) -> CollectedItem:
        """Its sample. Raises KeyError, TypeError, ValueError or OverflowError where its record is not whole."""
        seed, said = self.facts["seed"], self.facts
        numbers = (int(said["width"]), int(said["height"]))
        seed = None if seed is None else int(seed)
        return CollectedItem(self.place.item, str(said["prompt"]), str(said["negative_prompt"]), seed, *numbers)


def read_collection(folder: Path, samples: Path | None = None, more: Iterable[Shot] = ()) -> Collection:
    """The pictures below a run's folder of samples.

    The manifest says what a picture shows, or else the picture itself; where several show the same, the newest counts.
    Pictures of other programs, contact sheets and galleries are left alone.

    Args:
        folder: `<output>/<run>` of `eri sweep`, `eri watch` or Save Samples.
        samples: the trainer's folder of this run, for its own samples.
        more: pictures that are known from elsewhere.

    Raises NoPicturesError where there is no such folder or no picture of one run in it, CompareError for a manifest
    that is none, and ImagesError for `samples`.
    """
    if not folder.is_dir():
        raise NoPicturesError("there is no such folder", place=str(folder), remedy=NAME_A_RUN)
    if (folder / GALLERY_MARKER).is_file():
        remedy = "Name the run's folder that it was written of; usually it is the folder above."
        raise NoPicturesError("this is a gallery, whose pictures are copies", place=str(folder), remedy=remedy)
    listed = [*more, *_listed(folder)]
    known = {shot.path for shot in listed}
    shots = [*listed, *_shots(folder, (path for path in pictures_in(folder) if path not in known))]
    if not shots:
        raise NoPicturesError("no picture here says which sample it is", place=str(folder), remedy=_remedy(folder))
    return _collected(folder, shots, samples)


#: What to do where a folder is not that of one run.
NAME_A_RUN: Final = "Name the folder of one run, as eri sweep prints it: eri_samples/my_run."


def _remedy(folder: Path) -> str:
    """Where several runs lie in a folder, one of them is meant."""
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not inside:
        return f"{NAME_A_RUN} Were they made with --disable-metadata? Then nothing can tell them apart."
    more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
    return f"{NAME_A_RUN} Folders in it: {', '.join(inside[:_SHOWN])}{more}."


def _collected(folder: Path, shots: list[Shot], samples: Path | None) -> Collection:
    newest = max(shots, key=lambda shot: shot.changed)
    name = str(newest.facts.get("run", folder.name))
    kept = [shot for shot in shots if shot.facts.get("run", name) == name]
    inside = folder / safe_name(name)
    if folder.resolve().name != inside.name and all(shot.path.is_relative_to(inside) for shot in kept):
        raise NoPicturesError("the runs' own folders lie in this one", place=str(folder), remedy=_remedy(folder))
    items, fitting = _items(kept)
    pictures: dict[Place, Path] = {}
    for shot in fitting:
        pictures[shot.place] = shot.path
    variants = {shot.place.key: shot.variant for shot in fitting}
    notes = [f"{count} {what}" for count, what in (
        (len(shots) - len(kept), f"pictures of other runs than {name!r} were left out."),
        (len(kept) - len(fitting), "pictures of prompts or sizes that are others by now were left out."),
    ) if count]  # fmt: skip
    found = Collection(
        folder, name, str(newest.facts.get("family", "")), str(newest.facts.get("trainer", "")), items,
        tuple(sorted({place.step for place in pictures})),
        tuple(variants[key] for key in sorted(variants, key=_in_order)), pictures, notes=tuple(notes),
    )  # fmt: skip
    return found if samples is None else replace(found, theirs=_theirs(samples, found))


def _items(shots: list[Shot]) -> tuple[tuple[CollectedItem, ...], list[Shot]]:
    """The samples as the newest pictures of each say them, and the pictures that show these, the newest last."""
    shots = sorted(shots, key=lambda shot: shot.changed)
    newest: dict[int, CollectedItem] = {}
    seeds: dict[int, set[int | None]] = {}
    for shot in shots:
        item = shot.item()
        if not shot.place.key or item.index not in newest:
            newest[item.index] = item
    kept = []
    for shot in shots:
        item, now = shot.item(), newest[shot.place.item]
        if replace(item, seed=None) == replace(now, seed=None):
            kept.append(shot)
            if not shot.place.key:
                seeds.setdefault(item.index, set()).add(item.seed)
    one = {index: next(iter(found)) if len(found) == 1 else None for index, found in seeds.items()}
    items = tuple(replace(newest[index], seed=one.get(index, newest[index].seed)) for index in sorted(newest))
    return items, kept


def _in_order(key: str) -> list[tuple[str, bool, float, str]]:
    """Variants by their axes, numbers by size; the one without axes first."""
    parts = [part.partition("=") for part in key.split(",")] if key else []
    return [(name, _number(value) is None, _number(value) or 0.0, value) for name, _, value in parts]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _listed(folder: Path) -> Iterator[Shot]:
    """The pictures that the folder's manifest names and that are there; one may be of several variants."""
    for line in read(folder):
        path = folder / line.file
        changed = written_at(path)
        if changed is not None:
            variant, step = Variant(line.axes), NEWEST if line.step is None else line.step
            yield Shot(path, Place(variant.key, step, line.item), vars(line), variant, changed)


def _shots(folder: Path, paths: Iterable[Path]) -> Iterator[Shot]:
    """Those of the pictures below a folder that say themselves what they show.

    Their variant is a folder's name; of a graph whose LoRA has another strength than the config, that strength.
    """
    for path in paths:
        texts = read_texts(path)
        record = parsed(texts.get(KEY))
        step, index, changed = record.get("step"), record.get("index"), written_at(path)
        if not (isinstance(step, int) and isinstance(index, int)) or changed is None:
            continue
        parts = path.relative_to(folder).parts[:-1]
        variant = next(filter(None, map(variant_named, parts)), None) or _of_the_canvas(record, texts)
        shot = Shot(path, Place(variant.key, step, index), record, variant, changed)
        try:
            shot.item()
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        yield shot


def _of_the_canvas(record: Mapping[str, Any], texts: Mapping[str, str]) -> Variant:
    """What a person set in LoRA at Step beside the config: the strength."""
    said, config = parsed(texts.get(LORA)).get("strength_model"), record.get("lora_scale")
    strength = finite(said)
    if strength is not None and finite(config) is not None and record.get("step") and said != config:
        return Variant({"strength": strength})
    return PLAIN


def pictures_in(folder: Path) -> Iterator[Path]:
    """Pictures below a folder; not those of hidden folders and galleries. Links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        if GALLERY_MARKER in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield Path(place, name)


def _theirs(samples: Path, found: Collection) -> dict[tuple[int, int], Path]:
    """The trainer's own samples of these items; {} where no picture says the config that it was made of."""
    spec: SampleSpec | None = None
    items: dict[int, SampleItem] = {}
    for place, path in found.pictures.items():
        if place.item in items or place.key:
            continue
        try:
            said = from_json(read_texts(path)[_SPEC])
        except (SpecError, KeyError):
            continue
        spec = spec or said
        items.update({item.index: item for item in said.items})
    if spec is None:
        return {}
    from ..lora import find_checkpoints

    spec = replace(spec, items=[items[index] for index in sorted(items)])
    own = own_samples(samples, spec, find_checkpoints(samples))
    return {place: sample.path for place, sample in own.items() if not sample.problem}
