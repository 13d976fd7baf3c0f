"""Reads the tensors of a safetensors file from their ranges; those of one type that follow each other in one read.

The ranges are read and not mapped. With a mapping, a trainer that overwrites a checkpoint would change the weights of a
loaded model, and one that truncates it would end the process (SIGBUS; Rust's `File::create` truncates). Mapping is not
faster either: every number is needed once in any case, to be checked, and with many small tensors the library's one
call per tensor takes three times as long. Ranges that are not wanted (optimizer state) are never touched.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import LoraError
from .adapter import check_finite
from .header import Header, Span

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_DAMAGED = "The file is damaged: save this checkpoint again"
_Run = list[tuple[str, Span]]


def read_tensors(header: Header, keys: Collection[str]) -> dict[str, Tensor]:
    """Read and check the tensors `keys` of the file behind `header`, in their own dtype and shape, on the CPU.

    Tensors of one run share memory. Raises LoraError for NaN and infinity (naming the key), for types this torch does
    not have, for damage, and with `.retryable` when the file changes or shrinks while it is read.
    """
    tensors: dict[str, Tensor] = {}
    try:
        with header.path.open("rb", buffering=0) as stream:
            for run in _runs(header, keys):
                tensors.update(_read_run(header, stream, run))
            stat = os.fstat(stream.fileno())
    except OSError as error:
        raise LoraError(f"cannot be read ({error.strerror})", path=header.path, remedy="Check the file") from error
    if (stat.st_mtime_ns, stat.st_size) != header.stamp:
        raise _changed(header)
    return {key: tensors[key] for key in keys}


def _runs(header: Header, keys: Collection[str]) -> Iterator[_Run]:
    """The wanted ranges in the order of the file; those of one type without a gap between them are one run."""
    run: _Run = []
    end, dtype = 0, ""
    for key, span in sorted(((key, header.spans[key]) for key in keys), key=lambda pair: pair[1].begin):
        if run and (span.begin != end or span.dtype != dtype):
            yield run
            run = []
        run.append((key, span))
        end, dtype = span.end, span.dtype
    if run:
        yield run


def _read_run(header: Header, stream: BinaryIO, run: _Run) -> dict[str, Tensor]:
    first, end = run[0][1].begin, run[-1][1].end
    dtype, counts = _checked(header, run)
    data = torch.empty(sum(counts), dtype=dtype)
    stream.seek(header.start + first)
    view, done = data.view(torch.uint8).numpy().data, 0
    while done < end - first:
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise _changed(header)
        done += count
    parts = zip(run, data.split(counts), strict=True)  # all views in one call
    tensors = {key: part.view(header.shapes[key]) for (key, _), part in parts}
    _check_finite(header.path, data, tensors)
    return tensors


def _checked(header: Header, run: _Run) -> tuple[torch.dtype, list[int]]:
    """The type of a run's tensors and how many numbers each has; LoraError for what does not fit their data."""
    name = run[0][1].dtype
    dtype = _DTYPES.get(name)
    if dtype is None:
        keys = [key for key, _ in run]
        raise LoraError(f"holds numbers of the type {name}", path=header.path, keys=keys, remedy="Save it as BF16")
    counts = [math.prod(header.shapes[key]) for key, _ in run]
    for (key, span), count in zip(run, counts, strict=True):
        if span.end - span.begin != count * dtype.itemsize:
            raise LoraError("data and shape do not fit", path=header.path, keys=[key], remedy=_DAMAGED)
    return dtype, counts


def _check_finite(path: Path, data: Tensor, tensors: dict[str, Tensor]) -> None:
    """Refuse NaN and infinity, with one test over the whole run where its type allows it."""
    if data.numel() and data.is_floating_point() and data.itemsize > 1:
        ends = torch.stack(torch.aminmax(data))  # NaN comes through; far faster than testing every number
        if bool(torch.isfinite(ends).all()):
            return
    for key, tensor in tensors.items():
        check_finite(path, key, tensor)


def _changed(header: Header) -> LoraError:
    return LoraError(
        "changed while it was read",
        path=header.path,
        remedy="The trainer may still be writing it: wait a moment and read it again",
        retryable=True,
    )
