"""Divides one call of the diffusion model into calls on fewer rows. Pure torch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

#: (first row, one past the last)
Span = tuple[int, int]


def spans(passes: int, pictures: int, limit: int) -> list[Span]:
    """Return row ranges of at most `limit` rows that never mix a part of one pass with another pass.

    Args:
        passes: the number of passes (positive, negative, …), each a block of rows in the call.
        pictures: the number of latents in each block.
        limit: at least 1. A limit of several blocks keeps whole blocks together; a smaller one cuts within each block.
    """
    total = passes * pictures
    if limit >= pictures:
        step = limit // pictures * pictures
        return [(start, min(start + step, total)) for start in range(0, total, step)]
    return [
        (block + start, block + min(start + limit, pictures))
        for block in range(0, total, pictures)
        for start in range(0, pictures, limit)
    ]


def part(params: dict[str, Any], span: Span) -> dict[str, Any]:
    """Return the arguments of a model function wrapper for the rows of `span`. The given arguments are not changed.

    Everything in "c" that has as many rows as the call is cut, also lists and controls. Lists in "transformer_options"
    that have an entry per pass keep those of the span.

    Args:
        params: ComfyUI's "input" [rows, C, H, W], "timestep" [rows], "c" and "cond_or_uncond" (one entry per pass).
        span: one of `spans`.
    """
    start, stop = span
    passes = params["cond_or_uncond"]
    rows = len(params["input"])
    pictures = rows // len(passes)
    first, last = start // pictures, (stop - 1) // pictures + 1
    options = dict(params["c"].get("transformer_options", {}))
    for name in ("cond_or_uncond", "uuids"):
        if name in options:
            options[name] = options[name][first:last]
    sigmas = options.get("sigmas")  # one a picture, the same in every pass
    if isinstance(sigmas, Tensor) and len(sigmas) == pictures and stop - start < pictures:
        options["sigmas"] = sigmas[start % pictures :][: stop - start]
    conds = {key: _rows(value, rows, span) for key, value in params["c"].items() if key != "transformer_options"}
    return {
        **params,
        "input": params["input"][start:stop],
        "timestep": params["timestep"][start:stop],
        "c": {**conds, "transformer_options": options},
        "cond_or_uncond": passes[first:last],
    }


def _rows(value: Any, rows: int, span: Span) -> Any:
    if isinstance(value, Tensor):
        return value[span[0] : span[1]] if value.ndim > 0 and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _rows(entry, rows, span) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_rows(entry, rows, span) for entry in value)
    return value
