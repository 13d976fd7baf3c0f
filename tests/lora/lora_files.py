"""LoRA files written by hand: pairs of random matrices under given names, and the change they must make.

The expected change is computed here in float64 from the formula strength · alpha / rank · up @ down; nothing of the
pack is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

RANK = 4


@dataclass(frozen=True)
class Place:
    """A module in a file and the rows of a host weight that it must change: `shape` is the whole weight's."""

    key: str
    weight: str
    shape: tuple[int, ...]
    first: int = 0
    rows: int | None = None
    swap: bool = False

    @property
    def height(self) -> int:
        return self.shape[0] if self.rows is None else self.rows


@dataclass(frozen=True)
class Pair:
    """Down [rank, in, …], up [out, rank, …] and the alpha that the trainer used (None = equal to the rank)."""

    down: Tensor
    up: Tensor
    alpha: float | None = None

    def product(self) -> Tensor:
        """alpha / rank · up @ down in float64."""
        rank = self.down.shape[0]
        scale = 1.0 if self.alpha is None else self.alpha / rank
        change = self.up.double().flatten(1) @ self.down.double().flatten(1)
        return scale * change.reshape(self.up.shape[0], *self.down.shape[1:])


def pairs_for(
    places: Iterable[Place], alpha: float | None, rank: int = RANK, dtype: torch.dtype = torch.float32
) -> dict[str, Pair]:
    """A random pair per place, by file module."""
    generator = torch.Generator().manual_seed(5)
    made = {}
    for place in places:
        down = torch.randn(rank, *place.shape[1:], generator=generator).to(dtype)
        up = torch.randn(place.height, rank, *[1] * (len(place.shape) - 2), generator=generator).to(dtype)
        made[place.key] = Pair(down, up, alpha)
    return made


def expected_changes(places: Iterable[Place], pairs: Mapping[str, Pair], strength: float = 1.0) -> dict[str, Tensor]:
    """Per host weight (with `.weight`) the sum of all changes, float64, zeros where no slice lies."""
    changes: dict[str, Tensor] = {}
    for place in places:
        whole = changes.setdefault(f"{place.weight}.weight", torch.zeros(place.shape, dtype=torch.float64))
        change = strength * pairs[place.key].product()
        if place.swap:
            half = change.shape[0] // 2
            change = torch.cat([change[half:], change[:half]])
        whole[place.first : place.first + place.height] += change
    return changes


def assert_same_changes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same weights, and the same values within float32's rounding."""
    assert set(found) == set(expected)
    for name, change in expected.items():
        assert found[name].shape == change.shape, name
        error = (found[name].double() - change).abs().max().item()
        assert error < 2e-5 * max(1.0, change.abs().max().item()), f"{name}: {error}"


def tensors_of(
    pairs: Mapping[str, Pair], down: str, up: str, alpha_tensors: bool = False, alpha_shape: tuple[int, ...] = ()
) -> dict[str, Tensor]:
    """The pairs as a state dict, with the given endings."""
    tensors: dict[str, Tensor] = {}
    for module, pair in pairs.items():
        tensors[module + down] = pair.down.clone()
        tensors[module + up] = pair.up.clone()
        if alpha_tensors:
            assert pair.alpha is not None
            tensors[f"{module}.alpha"] = torch.full(alpha_shape, pair.alpha)
    return tensors


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a safetensors file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, dict(metadata or {}) or None)
    return path


def eridiffusion_header(trainer: str, step: int, rank: int, alpha: float) -> dict[str, str]:
    """Metadata of EriDiffusion V2's full save, fields as its `CkptHeader` has them."""
    header: dict[str, Any] = {
        "format_version": 1,
        "trainer": trainer,
        "step": step,
        "optimizer": "adamw",
        "adam_t": step,
        "lr": 1e-4,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.01,
        "rank": rank,
        "alpha": alpha,
        "rng_state": 42,
        "config_hash": "",
    }
    return {"__eridiffusion_ckpt__": json.dumps(header)}


def with_moments(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add AdamW's two moments of every tensor, as EriDiffusion V2's full save does."""
    moments = {
        f"__opt__/adamw/{kind}/{name}": torch.rand_like(tensor) for name, tensor in tensors.items() for kind in "mv"
    }
    return {**tensors, **moments}
