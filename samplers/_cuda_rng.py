"""`torch.randn` of a freshly seeded CUDA generator, in numpy: Philox4x32-10, Box–Muller, and ATen's launch grid.

Two things are certain: the integers (Random123's test vectors), and which integer goes to which element (ATen's
`distribution_elementwise_grid_stride_kernel`, with cuRAND's `curand_init(seed, thread, offset)`). The GPU's own
`logf` and `__sincosf` are approximations, so values agree to about 1e-6, not to the last bit. After rounding to
bfloat16 or float16 nearly all are equal. The values were checked against published output of torch on an RTX A4000, an
RTX A6000, an A100 and an H100, also beyond their number of threads. On a machine with a GPU, a test compares with it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..families.noise_profile import CUDA_BLOCK, grid_limit

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F32 = NDArray[np.float32]

_MASK32 = (1 << 32) - 1
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_UNROLL = 4


def philox(counter: U32, key: tuple[int, int], rounds: int = 10) -> U32:
    """Return Philox4x32 of `counter` `[4, n]` (Salmon et al. 2011), `[4, n]`."""
    c0, c1, c2, c3 = (word.astype(np.uint64) for word in counter)
    k0, k1 = key
    low, half = np.uint64(_MASK32), np.uint64(32)
    for _ in range(rounds):
        first, second = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1 = (second >> half) ^ c1 ^ np.uint64(k0), second & low
        c2, c3 = (first >> half) ^ c3 ^ np.uint64(k1), first & low
        k0, k1 = (k0 + _WEYL[0]) & _MASK32, (k1 + _WEYL[1]) & _MASK32
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def turns(count: int, gpu: str) -> int:
    """Return how often each thread draws four normals for `count` of them: what a draw moves the generator on by."""
    return -(-count // (_threads(count, gpu) * _UNROLL))


def _threads(count: int, gpu: str) -> int:
    return min(grid_limit(gpu), -(-count // CUDA_BLOCK) * CUDA_BLOCK)


def normal(seed: int, count: int, gpu: str, moved: int = 0) -> F32:
    """Return the first `count` normals of `torch.randn(count, device="cuda")` after `manual_seed(seed)` on that GPU.

    moved: the `turns` of all draws before it. ATen moves the generator's offset on by four values a turn
    (`calc_execution_policy`), which is one of Philox' counter.

    Each of the grid's threads owns a Philox subsequence. In each turn it draws four normals and writes them `threads`
    elements apart. While one turn of single values covers the tensor, only the first of the four is ever used, and the
    GPU makes no difference.
    """
    threads = _threads(count, gpu)
    rounds = turns(count, gpu)
    used = min(_UNROLL, -(-count // threads))  # of the four normals; the others fall outside the tensor
    result = np.empty((rounds, used, threads), dtype=np.float32)
    counter = np.zeros((4, threads), dtype=np.uint32)
    counter[2] = np.arange(threads, dtype=np.uint32)
    for turn in range(rounds):
        counter[0] = moved + turn
        words = philox(counter, (seed & _MASK32, seed >> 32))
        sine, cosine = _box_muller(words[0], words[1])
        result[turn, 0] = sine
        if used > 1:
            result[turn, 1] = cosine
        if used > 2:
            result[turn, 2], last = _box_muller(words[2], words[3])
            if used > 3:
                result[turn, 3] = last
    return result.reshape(-1)[:count]


def _box_muller(first: U32, second: U32) -> tuple[F32, F32]:
    """Return cuRAND's pair (sine first) from two words; each step is rounded to float32 where the GPU rounds."""
    scale = np.float32(2.0**-32)
    turn = np.float32(scale * np.float32(2.0 * math.pi))
    u = (first.astype(np.float32) * scale + scale / np.float32(2.0)).astype(np.float64)
    # one fused multiply-add on the GPU: exact in float64, rounded once
    angle = (second.astype(np.float32).astype(np.float64) * float(turn) + float(turn) / 2.0).astype(np.float32)
    radius = np.sqrt(np.float32(-2.0) * np.log(u).astype(np.float32))
    wide = angle.astype(np.float64)
    return radius * np.sin(wide).astype(np.float32), radius * np.cos(wide).astype(np.float32)
