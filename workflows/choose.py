"""Which of the host's model files a graph loads: by family and variant, preferring what the config names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from ..families import FAMILIES, download
from ..families.encoders import Like
from ..spec import SampleSpec
from .models import instead_of, usual_files
from .named import Named, Same, named_parts, names_part, same_model

#: The host's files by model folder: "checkpoints", "diffusion_models", "text_encoders", "vae", "loras" -> file names.
Offered = Mapping[str, Sequence[str]]
#: Of a spec, a folder and a file in it: the description that the host has beside the file, perhaps None, and notes.
Described = Callable[[SampleSpec, str, str], tuple[Mapping[str, Any] | None, list[str]]]

#: Of several files that fit: the usual one first, then full precision, for a trainer's numbers, then the alphabet.
_LESS_EXACT: Final = (r"fp8|e4m3|e5m2", r"q[2-8]|gguf|nf4|int[48]|svdq", r"scaled")
#: Models for trying things out, such as the pack's own examples: a real file is always taken before one of these.
_STAND_IN: Final = re.compile(r"(?<![a-z])(small|tiny|dummy)(?![a-z])")
_FOLDERS: Final = {"unet": "diffusion_models", "checkpoint": "checkpoints"}


def choose_models(
    spec: SampleSpec, offered: Offered, described: Described | None = None
) -> tuple[dict[str, Any], list[str]]:
    """A model description `{family, files}` from the files that the host offers, and notes on every choice.

    offered: file names by the host's model folders, as its `/models/<folder>` lists them. What the config names is
    looked for by its name, copies in another precision included, and kept where the host lacks it, so that the canvas
    marks it as missing. Where nothing is named, files of the family and variant are taken by their names, one that
    calls itself small or tiny only where there is no other; else the usual name, which the canvas offers for download.
    Where a copy in fewer bits is loaded instead of the named file, the first note says so. Where the host has a
    description beside the diffusion model's file, that one is taken, for all parts.
    """
    family, usual, named = FAMILIES[spec.family], usual_files(spec), named_parts(spec)
    notes: list[str] = []
    main, found = _main(spec, offered, usual, named.get("model"), notes)
    if described is not None and found in offered.get(_FOLDERS[main], ()):
        own, said = described(spec, _FOLDERS[main], found)
        notes += said
        if own is not None:
            return dict(own), [*instead_of(own, spec), *notes]
    files = {main: found}
    for encoder in family.encoders:
        if encoder.id in usual or main == "unet":
            default = usual.get(encoder.id, encoder.file.name)
            part = _Part(encoder.id, "text_encoders", encoder.like, default, _own(encoder.id, named))
            files[encoder.id] = _pick(part, offered, notes)
    if "vae" in usual or main == "unet":
        part = _Part("vae", "vae", family.vae_like, usual.get("vae", ""), _own("vae", named))
        files["vae"] = _pick(part, offered, notes)
    description = {"family": spec.family, "files": {key: name for key, name in files.items() if name}}
    return description, [*instead_of(description, spec), *notes]


class _Part(NamedTuple):
    """What is looked for: the part, the host's folder, what its files are called, the usual one, the named one."""

    title: str
    folder: str
    like: Like
    usual: str
    named: Named | None


def _own(part: str, named: Mapping[str, Named]) -> Named | None:
    return named[part] if part in named and names_part(part, named[part]) else None


def _main(
    spec: SampleSpec, offered: Offered, usual: Mapping[str, str], named: Named | None, notes: list[str]
) -> tuple[str, str]:
    """The diffusion model: kind ("unet" or "checkpoint") and file."""
    family, variant = FAMILIES[spec.family], FAMILIES[spec.family].variant(spec.variant)
    kinds = ("unet", "checkpoint") if family.main == "unet" else ("checkpoint", "unet")
    if named is not None:
        found = _named_file(named, {kind: offered.get(_FOLDERS[kind], ()) for kind in kinds})
        if found is None:
            fitting = [
                file for kind in kinds for file in offered.get(_FOLDERS[kind], ()) if family.model_like.fits(file)
            ]
            _keep("Model", named, usual[kinds[0]], fitting, notes)
            return kinds[0], usual[kinds[0]]
        _say_found("Model", named, found, notes)
        return found.kind, found.file
    like = (variant.model_like if variant else None) or family.model_like
    fitting_by_kind = {kind: [file for file in offered.get(_FOLDERS[kind], ()) if like.fits(file)] for kind in kinds}
    pattern = variant.offered if variant else ""
    exact = {
        kind: [file for file in files if re.search(pattern, file.lower())] for kind, files in fitting_by_kind.items()
    }
    for kind in sorted(kinds, key=lambda kind: all(map(_is_stand_in, exact[kind]))):
        if exact[kind]:
            return kind, _best("Model", exact[kind], usual[kinds[0]], notes)
    other = [file for files in fitting_by_kind.values() for file in files if not _is_stand_in(file)]
    beside = f" (there is {', '.join(other[:4])}, of another variant)" if other else ""
    kind = kinds[0]
    notes.append(f"Model: this ComfyUI has none for {_kind(spec)}{beside}; {_to_download(usual[kind])}.")
    return kind, usual[kind]


class _Found(NamedTuple):
    kind: str
    file: str
    same: Same


def _named_file(named: Named, offered: Mapping[str, Sequence[str]]) -> _Found | None:
    """The file that is the named one, its very name first, then a copy in full precision, then the most exact one."""
    found = [
        _Found(kind, file, same)
        for kind, files in offered.items()
        for file in files
        if (same := same_model(named, file)) is not None
    ]
    order = ("exact", "copy", "quantised")
    return min(found, key=lambda entry: (order.index(entry.same), _less_exact(entry.file)), default=None)


def _say_found(title: str, named: Named, found: _Found, notes: list[str]) -> None:
    if found.same == "exact":
        notes.append(f"{title}: {found.file}, as the config names it.")
    else:
        notes.append(f"{title}: {found.file}, a copy of {named.text}, which the config names.")


def _keep(title: str, named: Named, file: str, others: Sequence[str], notes: list[str]) -> None:
    """Say that the host lacks what the config names, which the graph asks for all the same."""
    files = list(dict.fromkeys(others))
    there = f" (it has {', '.join(files[:4])}{', …' if files[4:] else ''}: choose one by hand)" if files else ""
    missing = f"{title}: the config names {named.text}, which this ComfyUI does not have{there}"
    notes.append(f"{missing}; {_to_download(file)}.")


def _to_download(file: str) -> str:
    """What to do about a file that the host lacks."""
    entry = download(file)
    where = f" from {entry['url']} into models/{entry['directory']}" if entry else ""
    return f"{file} has to be downloaded{where}"


def _kind(spec: SampleSpec) -> str:
    return f"{spec.family} {spec.variant}" if spec.variant else spec.family


def _pick(part: _Part, offered: Offered, notes: list[str]) -> str:
    files = offered.get(part.folder, ())
    if part.named is not None:
        found = _named_file(part.named, {part.folder: files})
        if found is None:
            _keep(part.title, part.named, part.usual, [file for file in files if part.like.fits(file)], notes)
            return part.usual
        _say_found(part.title, part.named, found, notes)
        return found.file
    fitting = [file for file in files if part.like.fits(file)]
    if fitting:
        return _best(part.title, fitting, part.usual, notes)
    if part.usual:
        notes.append(f"{part.title}: this ComfyUI has none; {_to_download(part.usual)}.")
    return part.usual


def _is_stand_in(file: str) -> bool:
    return _STAND_IN.search(PurePosixPath(file.replace("\\", "/")).name.lower()) is not None


def _less_exact(file: str) -> int:
    return sum(re.search(word, file.lower()) is not None for word in _LESS_EXACT)


def _best(part: str, files: Sequence[str], usual: str, notes: list[str]) -> str:
    """The usual one or else the most exact of several files that fit; the choice is noted with the others' names."""

    def rank(file: str) -> tuple[bool, bool, int, str]:
        return _is_stand_in(file), same_model(usual, file) is None, _less_exact(file), file

    ranked = sorted(files, key=rank)
    others = f" (also fitting: {', '.join(ranked[1:5])}{', …' if len(ranked) > 5 else ''})" if ranked[1:] else ""
    alone = ""
    if _is_stand_in(ranked[0]):
        alone = ", by its name a small stand-in, which may need a loader of its own: ComfyUI offers no other"
        alone += f"; {_to_download(usual)}" if usual else ""
    notes.append(f"{part}: {ranked[0]}{others}{alone}.")
    return ranked[0]
