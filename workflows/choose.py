"""Which of the host's model files a graph loads: by family and variant, preferring what the config names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from ..families import FAMILIES
from ..families.encoders import Like
from ..spec import SampleSpec
from .downloads import download
from .models import usual_files

#: The host's files by model folder: "checkpoints", "diffusion_models", "text_encoders", "vae", "loras" -> file names.
Offered = Mapping[str, Sequence[str]]

#: Of several files that fit: full precision first, for a trainer's numbers; then the shorter name, then the alphabet.
_LESS_EXACT: Final = (r"fp8|e4m3|e5m2", r"q[2-8]|gguf|nf4|int[48]|svdq", r"scaled")
#: Models for trying things out, such as the pack's own examples: a real file is always taken before one of these.
_STAND_IN: Final = re.compile(r"(?<![a-z])(small|tiny|dummy)(?![a-z])")


def choose_models(spec: SampleSpec, offered: Offered) -> tuple[dict[str, Any], list[str]]:
    """A model description `{family, files}` from the files that the host offers, and notes on every choice.

    offered: file names by the host's model folders, as its `/models/<folder>` lists them. What the config names comes
    first, then files of the family and variant by their names, one that calls itself small or tiny only where there is
    no other. A part that the host lacks keeps its usual name, which the canvas offers for download; the note says so.
    """
    family, usual = FAMILIES[spec.family], usual_files(spec)
    notes: list[str] = []
    main, found = _main(spec, offered, usual, notes)
    files = {main: found}
    for encoder in family.encoders:
        if encoder.id in usual or main == "unet":
            named = usual.get(encoder.id, encoder.file.name)
            files[encoder.id] = _pick(encoder.id, encoder.like, offered.get("text_encoders", ()), named, notes)
    if "vae" in usual or main == "unet":
        files["vae"] = _pick("vae", family.vae_like, offered.get("vae", ()), usual.get("vae", ""), notes)
    return {"family": spec.family, "files": {key: name for key, name in files.items() if name}}, notes


def _main(spec: SampleSpec, offered: Offered, usual: Mapping[str, str], notes: list[str]) -> tuple[str, str]:
    """The diffusion model: kind ("unet" or "checkpoint") and file."""
    family, variant = FAMILIES[spec.family], FAMILIES[spec.family].variant(spec.variant)
    kinds = ("unet", "checkpoint") if family.main == "unet" else ("checkpoint", "unet")
    folders = {"unet": "diffusion_models", "checkpoint": "checkpoints"}
    named = {_base(str(name)) for name in spec.model_files.values()}
    for kind in kinds:
        same = [file for file in offered.get(folders[kind], ()) if _base(file) in named]
        if same:
            notes.append(f"Model: {same[0]}, as the config names it.")
            return kind, same[0]
    fitting = {
        kind: [file for file in offered.get(folders[kind], ()) if family.model_like.fits(file)] for kind in kinds
    }
    pattern = variant.offered if variant else ""
    exact = {kind: [file for file in files if re.search(pattern, file.lower())] for kind, files in fitting.items()}
    for kind in sorted(kinds, key=lambda kind: all(map(_is_stand_in, exact[kind]))):
        if exact[kind]:
            return kind, _best("Model", exact[kind], usual[kinds[0]], notes)
    other = [file for files in fitting.values() for file in files if not _is_stand_in(file)]
    beside = f" (there is {', '.join(other[:4])}, of another variant)" if other else ""
    kind = kinds[0]
    notes.append(f"Model: the host offers none for {_kind(spec)}{beside}; {_to_download(usual[kind])}.")
    return kind, usual[kind]


def _base(file: str) -> str:
    return PurePosixPath(file.replace("\\", "/")).name.lower()


def _to_download(file: str) -> str:
    """What to do about a file that the host lacks."""
    entry = download(file)
    where = f" from {entry['url']} into models/{entry['directory']}" if entry else ""
    return f"{file} has to be downloaded{where}"


def _kind(spec: SampleSpec) -> str:
    return f"{spec.family} {spec.variant}" if spec.variant else spec.family


def _pick(part: str, wanted: Like, files: Sequence[str], usual: str, notes: list[str]) -> str:
    fitting = [file for file in files if wanted.fits(file)]
    if fitting:
        return _best(part, fitting, usual, notes)
    if usual:
        notes.append(f"{part}: the host offers none; {_to_download(usual)}.")
    return usual


def _is_stand_in(file: str) -> bool:
    return _STAND_IN.search(_base(file)) is not None


def _best(part: str, files: Sequence[str], usual: str, notes: list[str]) -> str:
    """The most exact of several files that fit; the choice is noted with the others' names."""

    def rank(file: str) -> tuple[bool, int, int, str]:
        less_exact = sum(re.search(word, file.lower()) is not None for word in _LESS_EXACT)
        return _is_stand_in(file), less_exact, len(file), file

    ranked = sorted(files, key=rank)
    others = f" (also fitting: {', '.join(ranked[1:5])}{', …' if len(ranked) > 5 else ''})" if ranked[1:] else ""
    alone = ""
    if _is_stand_in(ranked[0]):
        alone = ", by its name a small stand-in, which may need a loader of its own: the host offers no other"
        alone += f"; {_to_download(usual)}" if usual else ""
    notes.append(f"{part}: {ranked[0]}{others}{alone}.")
    return ranked[0]
