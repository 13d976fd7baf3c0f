"""Reads the tensors of a safetensors file from their ranges, in as few reads as possible.

The ranges are read and not mapped. With a mapping, a trainer that overwrites a checkpoint would change the weights of a
loaded model, and one that truncates it would end the process (SIGBUS; Rust's `File::create` truncates). Mapping is not
faster either: every number is needed once in any case, to be checked, and with many small tensors the library's one
call per tensor takes three times as long. Ranges that are not wanted (optimizer state) are never touched.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
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
_GAP = 1 << 16  # bytes: what lies between two ranges is read along with them up to here
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
    """The wanted ranges in the order of the file; those of one type that lie close together are one run."""
    run: _Run = []
    for key, span in sorted(((key, header.spans[key]) for key in keys), key=lambda pair: pair[1].begin):
        if run and not (span.dtype == run[-1][1].dtype and 0 <= span.begin - run[-1][1].end <= _GAP):
            yield run
            run = []
        run.append((key, span))
    if run:
        yield run


def _read_run(header: Header, stream: BinaryIO, run: _Run) -> dict[str, Tensor]:
    first = run[0][1].begin
    data = torch.empty(run[-1][1].end - first, dtype=torch.uint8)
    stream.seek(header.start + first)
    view, done = data.numpy().data, 0
    while done < len(view):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise _changed(header)
        done += count
    tensors = {key: _view(header, key, data[span.begin - first : span.end - first], span) for key, span in run}
    _check_finite(header, data, run, tensors)
    return tensors


def _view(header: Header, key: str, data: Tensor, span: Span) -> Tensor:
    shape, dtype = header.shapes[key], _DTYPES.get(span.dtype)
    if dtype is None:
        raise LoraError(
            f"holds numbers of the type {span.dtype}", path=header.path, keys=[key], remedy="Save it as BF16"
        )
    if data.numel() != math.prod(shape) * dtype.itemsize:
        raise LoraError("data and shape do not fit", path=header.path, keys=[key], remedy=_DAMAGED)
    if data.storage_offset() % dtype.itemsize:
        data = data.clone()  # written without alignment
    return data.view(dtype).view(shape)


def _check_finite(header: Header, data: Tensor, run: _Run, tensors: dict[str, Tensor]) -> None:
    """Refuse NaN and infinity, with one test over the whole run when it holds nothing else."""
    dtype, gapless = _DTYPES[run[0][1].dtype], data.numel() == sum(span.end - span.begin for _, span in run)
    if gapless and data.numel() and dtype.is_floating_point and dtype.itemsize > 1:
        ends = torch.stack(torch.aminmax(data.view(dtype)))  # NaN comes through; far faster than testing every number
        if bool(torch.isfinite(ends).all()):
            return
    for key, tensor in tensors.items():
        check_finite(header.path, key, tensor)


def _changed(header: Header) -> LoraError:
    return LoraError(
        "changed while it was read",
        path=header.path,
        remedy="The trainer may still be writing it: wait a moment and read it again",
        retryable=True,
    )
