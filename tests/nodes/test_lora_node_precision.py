"""How exact a step's LoRA is on bf16, fp16 and fp8 weights: against float64, a plain merge and the stock loader.

The bounds are those of the formats. Rounding to nearest (bf16, fp16) is off by half a unit in the last place at most,
the host's stochastic rounding (fp8) by less than one; float32, in which the host adds up, by `slack`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.lora_runs import (
    RANK,
    folders,
    linear_weights,
    same,
    weights,
    write_kohya,
)
from comfyui_eridiffusion.tests.nodes.test_lora_node_merged import at_step, prepare

MODELS = {"flux": small_models.flux_model, "sd35": small_models.sd35_model, "sdxl": small_models.sdxl_model}
NEAREST, STOCHASTIC = (torch.bfloat16, torch.float16), (torch.float8_e4m3fn, torch.float8_e5m2)
STRENGTH = 0.75
STEPS = (1, 2)


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    with folders(loras=tmp_path / "loras"):
        yield tmp_path / "loras"


def unit(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The unit in the last place of `dtype` at each of these float64 values."""
    about = torch.finfo(dtype)
    exponent = torch.frexp(values.abs().clamp(min=about.smallest_normal)).exponent - 1
    return torch.ldexp(torch.full_like(values, about.eps), exponent)


def change_of(path: Path, weight: str) -> tuple[Tensor, Tensor]:
    """strength · alpha / rank · up @ down of one weight in float64, and the same of the absolute values."""
    tensors = load_file(path)
    module = "lora_unet_" + weight.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")
    down, up, alpha = (tensors[f"{module}.{kind}"].double() for kind in ("lora_down.weight", "lora_up.weight", "alpha"))
    scale = STRENGTH * alpha.item() / RANK
    return scale * (up @ down), scale * (up.abs() @ down.abs())


def bound(exact: Tensor, found: Tensor, dtype: torch.dtype) -> Tensor:
    """How far the format's rounding may lead. Rounding by chance is done in float16: its own rounding of the number,
    of the sum with the random number (2^-8 of a unit) and of the logarithm that gives the exponent count, too."""
    about = torch.maximum(exact.abs(), found.abs())
    if dtype in NEAREST:
        return 0.5 * unit(about, dtype)
    return (1 + 2.0**-8) * unit((1 + 2.0**-8) * about, dtype) + 0.5 * unit(about, torch.float16)


def check(found: dict[str, Tensor], base: dict[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    """Every weight that the LoRA changes lies within the bound around the exact one, and closer than a plain merge."""
    ours, plain = 0.0, 0.0
    for name, weight in found.items():
        assert weight.dtype == dtype
        change, size = change_of(path, name)
        start = base[name].double()
        exact = start + change
        slack = (RANK + 4) * 2.0**-24 * (start.abs() + size)
        error = (weight.double() - exact).abs()
        assert bool((error <= bound(exact, weight.double(), dtype) + slack).all()), name
        merged = (start.float() + change.to(dtype).float()).to(dtype)
        ours += error.square().sum().item()
        plain += (merged.double() - exact).square().sum().item()
    # A plain merge rounds twice, the change and the sum; by chance has twice the variance of to nearest at most.
    assert ours <= (1.0 if dtype in NEAREST else 2.0) * plain


@pytest.mark.parametrize("dtype", [*NEAREST, *STOCHASTIC], ids=str)
@pytest.mark.parametrize("family", MODELS)
def test_narrow_weights(comfy_host: Any, loras: Path, family: str, dtype: torch.dtype) -> None:
    """Freshly loaded, then the next step: within the bound, and what the stock LoraLoader leaves."""
    import nodes

    model, other = MODELS[family](), MODELS[family]()
    names = [f"a-step{step:08d}.safetensors" for step in STEPS]
    for step, name in zip(STEPS, names, strict=True):
        write_kohya(loras / "run" / name, model, step)
    for one in (model, other):
        one.model.diffusion_model.to(dtype).requires_grad_(False)
    base = weights(model)
    linear = set(linear_weights(model))
    for step, name in zip(STEPS, names, strict=True):
        found = prepare(at_step(comfy_host, model, step, strength_model=STRENGTH))
        stock = nodes.LoraLoader().load_lora(other, None, f"run/{name}", STRENGTH, 0.0)[0]
        assert same(found, prepare(stock))
        check({key: found[key] for key in found if key in linear}, base, loras / "run" / name, dtype)
        assert all(torch.equal(found[key].float(), base[key].float()) for key in found.keys() - linear)
    assert same(prepare(model), base)
