"""Rust's `StdRng` (rand 0.8: ChaCha12) and what the Rust trainers draw from it, in numpy.

Integers, uniforms and the accepted Ziggurat values are bit-equal to rand 0.8.5 / rand_distr 0.4.3. Box–Muller uses ln,
sin and cos in float32, whose last bit depends on the C library: values are at most 3 ulp away from rustc's (glibc).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_MASK64 = (1 << 64) - 1
_MASK32 = (1 << 32) - 1
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"
_ZIGGURAT_R, _ZIGGURAT_AREA, _ZIGGURAT_LAYERS = 3.6541528853610088, 0.00492867323399, 256


def seed_key(seed: int) -> tuple[int, ...]:
    """Expand a 64-bit seed to ChaCha's eight key words, as `SeedableRng::seed_from_u64` does (PCG32, rand_core 0.6)."""
    state, key = seed, []
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) & _MASK64
        mixed = (((state >> 18) ^ state) >> 27) & _MASK32
        turn = state >> 59
        key.append(((mixed >> turn) | (mixed << (32 - turn))) & _MASK32)
    return tuple(key)


def chacha_words(key: tuple[int, ...], count: int, rounds: int = 12, skip: int = 0) -> U32:
    """Return `count` words of ChaCha, after the first `skip`, with a 64-bit block counter from 0 and a zero nonce
    (Bernstein 2008)."""
    first = skip // 16
    blocks = -(-(skip + count) // 16) - first
    counter = np.arange(first, first + blocks, dtype=np.uint64)
    start = np.empty((4, 4, blocks), dtype=np.uint32)  # row, column, block
    start[0] = np.array(_CONSTANTS, dtype=np.uint32)[:, None]
    start[1:3] = np.array(key, dtype=np.uint32).reshape(2, 4)[:, :, None]
    start[3, 0] = (counter & np.uint64(_MASK32)).astype(np.uint32)
    start[3, 1] = (counter >> np.uint64(32)).astype(np.uint32)
    start[3, 2:] = 0
    a, b, c, d = (row.copy() for row in start)
    for _ in range(rounds // 2):
        a, b, c, d = _quarter_rounds(a, b, c, d)
        # the diagonals are the columns of the matrix whose rows are turned by 0, 1, 2 and 3 places
        a, b, c, d = _quarter_rounds(a, np.roll(b, -1, 0), np.roll(c, -2, 0), np.roll(d, -3, 0))
        b, c, d = np.roll(b, 1, 0), np.roll(c, 2, 0), np.roll(d, 3, 0)
    words = np.stack([a, b, c, d]) + start
    return np.ascontiguousarray(words.reshape(16, blocks).T).reshape(-1)[skip - 16 * first :][:count]


def std_rng_words(seed: int, count: int, skip: int = 0) -> U32:
    """Return `count` results of `next_u32` of `StdRng::seed_from_u64(seed)`, after the first `skip`."""
    return chacha_words(seed_key(seed), count, skip=skip)


def uniform(seed: int, count: int) -> F32:
    """Return `rng.gen::<f32>() * 2.0 - 1.0`: multiples of 2^-23 in [-1, 1)."""
    return _standard(std_rng_words(seed, count)) * np.float32(2.0) - np.float32(1.0)


def gen_range(seed: int, count: int) -> F32:
    """Return `rng.gen_range(-1.0f32..1.0)`: the same uniforms with one bit less, multiples of 2^-22 in [-1, 1)."""
    top = (std_rng_words(seed, count) >> np.uint32(9)).astype(np.float32)
    return top * np.float32(2.0**-22) - np.float32(1.0)


def box_muller(seed: int, count: int, least: float = 1e-10, turn: int = 0) -> F32:
    """Return normals in pairs from two uniforms in float32: r·cos(2 pi u2), then r·sin(2 pi u2), r = sqrt(-2 ln u1).

    Args:
        least: what u1 is raised to.
        turn: how many times `count` values were drawn before; of an odd number the last pair's second one is left out.
    """
    words = 2 * -(-count // 2)
    uniforms = _standard(std_rng_words(seed, words, turn * words))
    first, second = np.maximum(uniforms[0::2], np.float32(least)), uniforms[1::2]
    radius = np.sqrt(np.float32(-2.0) * _rounded(np.log, first))
    angle = np.float32(2.0) * np.float32(math.pi) * second
    return np.stack([radius * _rounded(np.cos, angle), radius * _rounded(np.sin, angle)], axis=1).reshape(-1)[:count]


def ziggurat(seed: int, count: int) -> F32:
    """Return `Normal::new(0.0f32, 1.0).sample` of rand_distr 0.4: the ZIGNOR Ziggurat in float64, then rounded.

    Nearly every 64-bit draw is accepted at once, so all draws are tried as if a sample began there; only where one is
    not accepted (about 1 in 80) the sequence is followed by hand.
    """
    draws = count + count // 16 + 1024
    while True:
        words = std_rng_words(seed, 2 * draws).astype(np.uint64)
        result = _ziggurat_from(words[0::2] | (words[1::2] << np.uint64(32)), count)
        if result is not None:
            return result
        draws *= 2


def _ziggurat_from(bits: U64, count: int) -> F32 | None:
    """Return `count` normals from a stream of 64-bit draws; None where the stream is too short."""
    edges, _ = _ziggurat_tables()
    layer = (bits & np.uint64(0xFF)).astype(np.intp)
    signed = (bits >> np.uint64(12)).astype(np.float64) * 2.0**-51 - 1.0
    values = signed * edges[layer]
    hard = np.flatnonzero(np.abs(values) >= edges[layer + 1])
    result, filled, position = np.empty(count, dtype=np.float32), 0, 0
    for stop in (*hard.tolist(), len(bits)):
        if stop < position:  # used up as part of an earlier sample
            continue
        run = min(stop - position, count - filled)
        result[filled : filled + run] = values[position : position + run]
        filled += run
        if filled == count:
            return result
        if stop + 64 > len(bits):  # a sample needs a handful of draws; 64 are a comfortable margin
            return None
        value, position = _ziggurat_hard(bits, stop, int(layer[stop]), float(signed[stop]), float(values[stop]))
        if value is not None:
            result[filled] = value
            filled += 1
    return result if filled == count else None


def _ziggurat_hard(bits: U64, at: int, layer: int, signed: float, value: float) -> tuple[float | None, int]:
    """Finish the sample that began with draw `at`: (its value or None where it was rejected, the next draw)."""
    edges, heights = _ziggurat_tables()
    if layer:
        share = int(bits[at + 1] >> np.uint64(11)) * 2.0**-53
        height = heights[layer + 1] + (heights[layer] - heights[layer + 1]) * share
        return (value if height < math.exp(-value * value / 2.0) else None), at + 2
    x, y, following = 1.0, 0.0, at + 1
    while -2.0 * y < x * x:
        x = math.log(_open01(bits[following])) / edges[1]
        y = math.log(_open01(bits[following + 1]))
        following += 2
    return (x - edges[1] if signed < 0.0 else edges[1] - x), following


@lru_cache(maxsize=1)
def _ziggurat_tables() -> tuple[F64, F64]:
    """Return the layer edges and the density there (Doornik 2005), to the 18 decimals rand_distr stores."""
    edges = [_ZIGGURAT_AREA / math.exp(-(_ZIGGURAT_R**2) / 2.0), _ZIGGURAT_R]
    while len(edges) < _ZIGGURAT_LAYERS:
        last = edges[-1]
        edges.append(math.sqrt(-2.0 * math.log(_ZIGGURAT_AREA / last + math.exp(-last * last / 2.0))))
    edges.append(0.0)
    heights = [math.exp(-x * x / 2.0) for x in edges]
    return np.array([float(f"{x:.18f}") for x in edges]), np.array([float(f"{y:.18f}") for y in heights])


def _open01(bits: np.uint64) -> float:
    """Return rand's `Open01` for f64: 52 bits, in (0, 1)."""
    return int(bits >> np.uint64(12)) * 2.0**-52 + 2.0**-53


def _standard(words: U32) -> F32:
    """Return rand's `Standard` for f32: the upper 24 bits as a multiple of 2^-24 in [0, 1)."""
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _rounded(function: np.ufunc, values: F32) -> F32:
    """Apply a function in float64 and round once, which is what a good float32 library function returns."""
    result: F32 = function(values.astype(np.float64)).astype(np.float32)
    return result


def _quarter_rounds(a: U32, b: U32, c: U32, d: U32) -> tuple[U32, U32, U32, U32]:
    a = a + b
    d = _rotate(d ^ a, 16)
    c = c + d
    b = _rotate(b ^ c, 12)
    a = a + b
    d = _rotate(d ^ a, 8)
    c = c + d
    b = _rotate(b ^ c, 7)
    return a, b, c, d


def _rotate(words: U32, places: int) -> U32:
    return (words << np.uint32(places)) | (words >> np.uint32(32 - places))
