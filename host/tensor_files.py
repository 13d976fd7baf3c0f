"""Tensors that a trainer wrote, from safetensors files in the folders that graphs may read."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import NodeInputError
from .paths import candidates, input_roots, without_folders

SUFFIXES = (".safetensors", ".sft", ".latent")
#: Stands for the seed in a file's name: one file per sample.
SEED = "{seed}"
#: The stock Save Latent's mark, which is no data.
_MARKS = ("latent_format_version_0",)


def read_tensor(name: str, names: Sequence[str], seed: int | None = None) -> Tensor:
    """Return the wanted tensor of a file below the input folder or a loras folder, as finite float32.

    Args:
        name: a relative path; `{seed}` in it becomes `seed`.
        names: what the tensor may be called, best first. A file's only tensor is taken whatever its name is.
        seed: the seed for the name, or None.

    Raises NodeInputError naming the file when it is missing, outside the folders or no safetensors file, or when it has
    no tensor of these names, one that is not of floating point, or one that is not finite.
    """
    path = _find(name if seed is None else name.replace(SEED, str(seed)))
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            held = [key for key in file.keys() if key not in _MARKS]  # noqa: SIM118  # it is no dict
            key = held[0] if len(held) == 1 else next((one for one in names if one in held), None)
            if key is None:
                raise NodeInputError(
                    f"file: {path.name} holds {', '.join(held[:8]) or 'no tensor'}{', …' if len(held) > 8 else ''}. "
                    f"Name the wanted one {names[0]!r}, or keep one tensor per file."
                )
            tensor: Tensor = file.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise NodeInputError(
            f"file: {path.name} is not a readable safetensors file ({error}). Write it with safetensors' save_file."
        ) from error
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise NodeInputError(f"file: {key} in {path.name} is of type {kind}. Write float32, float16 or bfloat16.")
    tensor = tensor.to(torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        raise NodeInputError(f"file: {key} in {path.name} holds NaN or infinite values. Write it again.")
    return tensor


def fingerprint(name: str, seed: int | None = None) -> str:
    """A text of paths, times and sizes of the files that `name` may mean, which changes when one of them does.

    seed is None when it is linked and so not known before the graph runs; then every file that fits `{seed}` counts.
    """
    if not name:
        return ""
    try:
        pattern = glob.escape(name).replace(glob.escape(SEED), "*" if seed is None else str(seed))
        paths = [path for place in candidates(pattern, input_roots(), "file") for path in glob.glob(str(place))]
        stats = [(path, Path(path).stat()) for path in sorted(paths)]
    except (NodeInputError, OSError) as error:
        return f"unreadable: {error}"
    return "|".join(f"{path}:{stat.st_mtime_ns}:{stat.st_size}" for path, stat in stats) or "missing"


def problem(name: str) -> str | None:
    """What is wrong with the file's name before the graph runs; None when nothing is or `{seed}` leaves it open."""
    try:
        if name and SEED not in name:
            _find(name)
    except NodeInputError as error:
        return without_folders(str(error))
    return None


def _find(name: str) -> Path:
    if not name.lower().endswith(SUFFIXES):
        raise NodeInputError(
            f"file: {name!r} is no safetensors file. Give a name that ends in {' or '.join(SUFFIXES)}."
        )
    places = candidates(name, input_roots(), "file")
    for place in places:
        if place.is_file():
            return place
    raise NodeInputError(
        f"file: there is no {name!r}. Put it into ComfyUI's input folder or a loras folder ({places[0].parent})."
    )
