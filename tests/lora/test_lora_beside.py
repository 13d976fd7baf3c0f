"""A LoRA beside a layer: against the unmerged forward of PEFT's own layers, and of kohya's and LyCORIS's formulas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from comfyui_eridiffusion.lora import Adapter
from comfyui_eridiffusion.lora.beside import Beside, Layer, terms_of
from comfyui_eridiffusion.lora.names.table import Rows, Target

WIDTH, OUT, RANK, ALPHA = 64, 96, 4, 8.0
WHOLE = Target("diffusion_model.a", "model", "diffusion_model.a")


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(dtype: torch.dtype, seed: int = 7) -> nn.Linear:
    layer = nn.Linear(WIDTH, OUT)
    layer.weight.data, layer.bias.data = random(OUT, WIDTH, seed=seed) / 8, random(OUT, seed=seed + 1)
    return layer.to(dtype).requires_grad_(False)


def convolution(dtype: torch.dtype = torch.float32) -> nn.Conv2d:
    layer = nn.Conv2d(8, 12, 3, stride=2, padding=1)
    layer.weight.data, layer.bias.data = random(12, 8, 3, 3) / 8, random(12, seed=2)
    return layer.to(dtype).requires_grad_(False)


def of(layer: nn.Module) -> Layer:
    if isinstance(layer, nn.Conv2d):
        how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        return Layer(layer.out_channels, (layer.in_channels, *layer.kernel_size), how)
    return Layer(layer.weight.shape[0], tuple(layer.weight.shape[1:]))  # type: ignore[union-attr]


def output(layer: Any, x: Tensor, *adapters: Adapter, strength: float = 1.0) -> Tensor:
    """The layer's output with the adapters beside it."""
    terms = [term for one in adapters for term in terms_of(one, strength, of(layer), layer.weight) or ()]
    assert terms
    return Beside(terms, of(layer)).output(layer, x, lambda like: layer.bias.to(like))


def adapter(target: Target = WHOLE, alpha: float | None = ALPHA, **tensors: Tensor) -> Adapter:
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return Adapter("a", target, named, tuple(named), alpha)


def pair(rows: int = OUT, target: Target = WHOLE, seed: int = 3, **more: Tensor) -> Adapter:
    down, up = random(RANK, WIDTH, seed=seed) / 8, random(rows, RANK, seed=seed + 1)
    return adapter(target, lora_down__weight=down, lora_up__weight=up, **more)


def with_peft(layer: nn.Module, found: Adapter, **config: Any) -> Any:
    """PEFT's own layer around `layer`, with the adapter's tensors."""
    import peft  # here: it takes seconds, which no other test should pay
    from peft.tuners.lora.layer import Conv2d, Linear

    kind = Conv2d if isinstance(layer, nn.Conv2d) else Linear
    settings = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, **config)  # type: ignore[arg-type]
    wrapped = kind(layer, "default", config=settings, r=RANK, lora_alpha=ALPHA)
    wrapped.lora_A["default"].weight.data = found.tensors["lora_down.weight"].clone()
    wrapped.lora_B["default"].weight.data = found.tensors["lora_up.weight"].clone()
    return wrapped.requires_grad_(False)


def kohya(layer: Any, x: Tensor, found: Adapter, multiplier: float = 1.0) -> Tensor:
    """sd-scripts networks/lora_flux.py, LoRAModule.forward, its matrices of the layer's type as under autocast."""
    down, up = (found.tensors[f"lora_{name}.weight"].to(x.dtype) for name in ("down", "up"))
    result: Tensor = layer(x) + functional.linear(functional.linear(x, down), up) * multiplier * (ALPHA / RANK)
    return result


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = request.param
    return found


def close(found: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    """Within the rounding of float32's arithmetic."""
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("multiplier", [1.0, -0.5, 2.3])
def test_a_pair_is_kohyas_forward_bit_for_bit(dtype: torch.dtype, multiplier: float) -> None:
    layer, x, found = linear(dtype), random(2, 5, WIDTH).to(dtype), pair()
    assert torch.equal(output(layer, x, found, strength=multiplier), kohya(layer, x, found, multiplier))


def test_a_pair_is_pefts_forward_bit_for_bit(dtype: torch.dtype) -> None:
    layer, x, found = linear(dtype), random(2, 5, WIDTH).to(dtype), pair()
    assert torch.equal(output(layer, x, found), with_peft(layer, found).to(dtype)(x))


def test_a_convolution_is_pefts_forward() -> None:
    layer, x = convolution(), random(2, 8, 9, 9)
    found = adapter(lora_down__weight=random(RANK, 8, 3, 3) / 8, lora_up__weight=random(12, RANK, 1, 1, seed=2))
    close(output(layer, x, found), with_peft(layer, found)(x))


def test_stacked_loras_are_pefts_adapters_one_after_the_other() -> None:
    import peft

    layer, x, first, second = linear(torch.float32), random(3, WIDTH), pair(), pair(seed=9)
    wrapped = with_peft(layer, first)
    wrapped.update_layer("b", config=peft.LoraConfig(r=RANK, lora_alpha=ALPHA), r=RANK, lora_alpha=ALPHA)  # type: ignore[arg-type]
    wrapped.lora_A["b"].weight.data = second.tensors["lora_down.weight"]
    wrapped.lora_B["b"].weight.data = second.tensors["lora_up.weight"]
    wrapped.set_adapter(["default", "b"])
    close(output(layer, x, first, second), wrapped(x))


def test_a_changed_bias_is_pefts_lora_bias() -> None:
    layer, x = linear(torch.float32), random(3, WIDTH)
    found = pair(lora_B__bias=random(OUT, seed=5))
    wrapped = with_peft(layer, found, lora_bias=True)
    wrapped.lora_B["default"].bias = nn.Parameter(found.tensors["lora_B.bias"])
    close(output(layer, x, found), wrapped(x))


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_dora_is_pefts(kind: str) -> None:
    """Only strength 1: PEFT has no other."""
    layer: Any = linear(torch.float32) if kind == "linear" else convolution()
    x = random(3, WIDTH) if kind == "linear" else random(2, 8, 9, 9)
    found = pair() if kind == "linear" else adapter(
        lora_down__weight=random(RANK, 8, 3, 3) / 8, lora_up__weight=random(12, RANK, 1, 1, seed=2)
    )  # fmt: skip
    magnitude = 1.0 + 0.1 * random(layer.weight.shape[0], seed=4).abs()
    wrapped = with_peft(layer, found, use_dora=True)
    weight = wrapped.lora_magnitude_vector["default"].weight
    weight.data = magnitude.view(weight.shape)
    with_magnitude = Adapter(
        "a", WHOLE, {**found.tensors, "lora_magnitude_vector": magnitude}, (), found.alpha
    )  # fmt: skip
    close(output(layer, x, with_magnitude), wrapped(x), 10.0)


def by_weight(layer: Any, x: Tensor, change: Tensor) -> Tensor:
    """The layer with `change` added to its weight, in float32: exact there but for the order of sums."""
    changed = type(layer).__new__(type(layer))
    changed.__dict__ = {**layer.__dict__, "_parameters": dict(layer._parameters)}
    changed.weight = nn.Parameter(layer.weight + change.view_as(layer.weight), requires_grad=False)
    result: Tensor = changed(x)
    return result


def test_dora_of_columns_is_its_formula() -> None:
    """OneTrainer's default: W' = m (W + s B A) / |W + s B A| per column; strength between W and W'."""
    layer, x = linear(torch.float32), random(3, WIDTH)
    magnitude = 1.0 + 0.1 * random(1, WIDTH, seed=4).abs()
    found = pair(dora_scale=magnitude)
    whole = layer.weight + ALPHA / RANK * found.tensors["lora_up.weight"] @ found.tensors["lora_down.weight"]
    changed = whole * magnitude / whole.norm(dim=0, keepdim=True)
    close(output(layer, x, found, strength=0.7), by_weight(layer, x, 0.7 * (changed - layer.weight)), 10.0)


def lycoris(kind: str) -> Iterator[tuple[Any, Tensor, Adapter, Any]]:
    """Layer, input, adapter and PEFT's own layer of that kind, for linear layers and convolutions."""
    import peft
    from peft.tuners import loha, lokr

    package, prefix = {"loha": (loha.layer, "hada"), "lokr": (lokr.layer, "lokr")}[kind]
    config = {"loha": peft.LoHaConfig, "lokr": peft.LoKrConfig}[kind]
    for layer, x, name in (
        (linear(torch.float32), random(3, WIDTH), "Linear"),
        (convolution(), random(2, 8, 9, 9), "Conv2d"),
    ):
        for effective in (False, True):
            made: Any = config(r=1, alpha=2, use_effective_conv2d=effective)  # type: ignore[operator]
            wrapped = getattr(package, name)(layer, "default", config=made, r=1, alpha=2, init_weights=True,
                                             use_effective_conv2d=effective)  # fmt: skip
            tensors = {}
            for seed, (path, value) in enumerate(wrapped.named_parameters()):
                if prefix in path:
                    value.data = random(*value.shape, seed=seed) / 2
                    tensors[path.split(".")[0]] = value.data
            yield layer, x, Adapter("a", WHOLE, tensors, tuple(tensors), 2.0), wrapped.requires_grad_(False)


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_lycoris_kinds_are_pefts_layers(kind: str) -> None:
    for layer, x, found, wrapped in lycoris(kind):
        close(output(layer, x, found), wrapped(x), 100.0)


def test_rotations_are_kohyas() -> None:
    """sd-scripts networks/oft_flux.py, OFTModule.forward: the rows of W rotated in blocks, the bias as it was."""
    layer, x, blocks = linear(torch.float32), random(3, WIDTH), random(4, 24, 24) / 10
    found = adapter(alpha=None, oft_blocks=blocks)
    skew = blocks - blocks.transpose(1, 2)
    one = torch.eye(24)
    for strength in (1.0, 0.4):
        rotation = strength * ((one + skew) @ (one - skew).inverse() - one) + one
        rotated = torch.einsum("knm,knp->kmp", rotation, layer.weight.unflatten(0, (4, 24))).flatten(0, 1)
        close(output(layer, x, found, strength=strength), functional.linear(x, rotated, layer.bias), 10.0)


def test_slices_of_a_fused_weight() -> None:
    """Each of three PEFT layers on its own projection, side by side: what a fused weight with slices must give."""
    fused = nn.Linear(WIDTH, 3 * WIDTH).requires_grad_(False)
    fused.weight.data, fused.bias.data = random(3 * WIDTH, WIDTH) / 8, random(3 * WIDTH)
    parts, adapters = [], []
    for index in range(3):
        single = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        rows = slice(index * WIDTH, (index + 1) * WIDTH)
        single.weight.data, single.bias.data = fused.weight[rows], fused.bias[rows]
        target = Target(f"t.{index}", "model", "diffusion_model.a", Rows(index, 1, 3))
        adapters.append(pair(WIDTH, target, seed=20 + index))
        parts.append(with_peft(single, adapters[-1]))
    x = random(2, 5, WIDTH)
    close(output(fused, x, *adapters), torch.cat([part(x) for part in parts], dim=-1))


def test_swapped_halves() -> None:
    """diffusers keeps scale before shift where ComfyUI keeps shift before scale: its halves trade places."""
    theirs, ours = linear(torch.float32), linear(torch.float32)
    ours.weight.data, ours.bias.data = (torch.cat(value.chunk(2)[::-1]) for value in (theirs.weight, theirs.bias))
    found = pair(target=Target("t", "model", "diffusion_model.a", swap="always"))
    x = random(3, WIDTH)
    expected = torch.cat(with_peft(theirs, found)(x).chunk(2, dim=-1)[::-1], dim=-1)
    close(output(ours, x, found), expected)


def test_a_small_change_survives_a_coarse_weight() -> None:
    """The reason for it all (the issue's measurement): width 2048, rank 16, |change| = 1 % of |W|, bfloat16 base."""
    width, rank = 2048, 16
    layer = nn.Linear(width, width, bias=False).requires_grad_(False)
    layer.weight.data = random(width, width).bfloat16()
    down, up = random(rank, width, seed=2), random(width, rank, seed=3)
    change = up @ down
    factor = 0.01 * layer.weight.float().norm() / change.norm()
    found = adapter(alpha=float(rank), lora_down__weight=down, lora_up__weight=up * factor)
    x = random(64, width, seed=4).bfloat16()
    exact = x.float() @ (factor * change).T

    def wrong(result: Tensor) -> float:
        return float((result.float() - exact).norm() / exact.norm())

    merged = (layer.weight.float() + factor * change).bfloat16()
    merged_effect = (x.double() @ (merged.double() - layer.weight.double()).T).float()
    nothing = nn.Linear(width, width, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    nothing.weight.data.zero_()
    assert wrong(merged_effect) > 0.1
    assert wrong(output(_without_bias(nothing), x, found)) < 0.006


def _without_bias(layer: Any) -> Any:
    layer.bias = nn.Parameter(torch.zeros(layer.weight.shape[0], dtype=layer.weight.dtype), requires_grad=False)
    return layer


def test_a_whole_difference_has_no_form_of_its_own() -> None:
    assert terms_of(adapter(diff=random(OUT, WIDTH)), 1.0, of(linear(torch.float32))) is None


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8], ids=str)
def test_dora_needs_a_weight_whose_norm_is_the_trainers(dtype: torch.dtype) -> None:
    weight = torch.zeros(OUT, WIDTH).to(dtype)
    assert terms_of(pair(dora_scale=random(OUT, 1)), 1.0, Layer(OUT, (WIDTH,)), weight) is None


def test_ranks_and_paths_are_kept_apart(tmp_path: Path) -> None:
    """Tensors are cast once per type and given back when asked."""
    layer, found = linear(torch.float32), pair()
    beside = Beside(terms_of(found, 1.0, of(layer)) or [], of(layer))
    for _ in range(2):
        beside.output(layer, random(1, WIDTH), lambda like: layer.bias)
    assert len(beside._cast) == 1
    beside.forget()
    assert not beside._cast
