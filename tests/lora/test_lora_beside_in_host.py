"""A LoRA beside the layers of the host's models, in every dialect and kind: what the host's own merging gives there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.func import functional_call

from comfyui_eridiffusion.lora import Lora, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.lora.beside import Beside, Term, terms_of
from comfyui_eridiffusion.tests.lora.dialect_files import CASES, Case
from comfyui_eridiffusion.tests.lora.host_models import host_base, host_changes, host_model

pytestmark = pytest.mark.usefixtures("comfy_host")
STRENGTH = 0.6


def beside(lora: Lora, family: str, strength: float) -> Iterator[tuple[str, Any, Tensor, Tensor]]:
    """Path, layer, an input and the layer's output with the LoRA beside it, of each layer of the diffusion model."""
    from comfyui_eridiffusion.host.lora.layers import layer_of

    terms: dict[str, list[Term]] = defaultdict(list)
    layers: dict[str, Any] = {}
    for adapter in lora.adapters:
        path = adapter.target.weight
        if adapter.target.part == "model":
            layers[path] = layer_of(host_model(family).get_submodule(path))
            weight = host_base(family)[f"{path}.weight"]
            terms[path] += terms_of(adapter, strength, layers[path], weight) or []
    for path, found in terms.items():
        module = host_model(family).get_submodule(path)
        layer = layers[path]
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(2, layer.columns[0], *[6] * (len(layer.columns) - 1), generator=generator)
        yield path, module, x, Beside(found, layer).output(module, x, lambda _, module=module: module.bias)  # type: ignore[misc]


def agrees(lora: Lora, family: str, changes: Mapping[str, Tensor], strength: float = STRENGTH) -> None:
    """Each layer's output is that of the layer with the changed weights, in float32, up to the order of sums."""
    seen = set()
    with torch.no_grad():
        for path, module, x, found in beside(lora, family, strength):
            names = {name: f"{path}.{name}" for name, _ in module.named_parameters()}
            changed = {
                name: host_base(family)[full] + changes[full] for name, full in names.items() if full in changes
            }
            seen |= {names[name] for name in changed}
            expected = functional_call(module, changed, x)
            assert (found - expected).abs().max() < 2e-5 * expected.abs().max(), path
            assert (module(x) - expected).abs().max() > 1e-4 * expected.abs().max(), path
    assert seen == {name for name in changes if name.startswith("diffusion_model.")}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_dialect(tmp_path: Path, case: Case) -> None:
    """Slices of fused weights, swapped halves, convolutions and biases are where the host puts them."""
    path, _ = case.write(tmp_path)
    lora = read_lora(path, family=case.family)
    agrees(lora, case.family, host_changes(case.family, to_host_keys(lora), STRENGTH))


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


KINDS = (
    "glora", "square glora", "older glora", "glora of a convolution", "oft", "bounded oft", "oft of a convolution",
    "boft", "boft of a convolution", "rescaled boft", "tucker", "loha", "loha of high rank", "lokr", "bias",
)  # fmt: skip


def kinds() -> dict[str, tuple[str, str, dict[str, Tensor]]]:
    """Family, module and tensors by name: what the host has an adapter for beside pairs, strength 1 as trained."""
    linear, square = "single_blocks.1.linear2", "double_blocks.0.img_attn.proj"
    convolution = "input_blocks.1.0.in_layers.2"
    base = {family: host_base(family) for family in ("flux", "sdxl")}
    out, wide = base["flux"][f"diffusion_model.{linear}.weight"].shape
    width = base["flux"][f"diffusion_model.{square}.weight"].shape[0]
    channels = base["sdxl"][f"diffusion_model.{convolution}.weight"].shape[0]

    def glora(rows: int, columns: int, kernel: int = 1) -> dict[str, Tensor]:
        return {"a1.weight": rand(columns, 3), "a2.weight": rand(3, columns) / 9, "b1.weight": rand(rows, 3),
                "b2.weight": rand(3, columns * kernel), "alpha": torch.tensor(2.0)}  # fmt: skip

    def older(rows: int, columns: int) -> dict[str, Tensor]:
        return {"a2.weight": rand(columns, 3), "a1.weight": rand(3, columns) / 9, "b2.weight": rand(rows, 3),
                "b1.weight": rand(3, columns), "alpha": torch.tensor(2.0)}  # fmt: skip

    return {
        "glora": ("flux", linear, glora(out, wide)),
        "square glora": ("flux", square, glora(width, width)),
        "older glora": ("flux", linear, older(out, wide)),
        "glora of a convolution": ("sdxl", convolution, glora(channels, channels, 9)),
        "oft": ("flux", linear, {"oft_blocks": rand(4, out // 4, out // 4) / 9}),
        "bounded oft": ("flux", linear, {"oft_blocks": rand(4, out // 4, out // 4), "alpha": torch.tensor(0.5)}),
        "oft of a convolution": ("sdxl", convolution, {"oft_blocks": rand(4, channels // 4, channels // 4) / 9}),
        "boft": ("flux", linear, {"oft_blocks": rand(2, out // 8, 8, 8) / 9}),
        "boft of a convolution": ("sdxl", convolution, {"oft_blocks": rand(2, channels // 4, 4, 4) / 9}),
        "rescaled boft": ("flux", linear, {"oft_blocks": rand(2, out // 8, 8, 8) / 9, "rescale": 1 + rand(out, 1) / 9}),
        "tucker": ("sdxl", convolution, {"lora_up.weight": rand(channels, 3, 1, 1), "lora_down.weight":
                   rand(3, channels, 1, 1), "lora_mid.weight": rand(3, 3, 3, 3)}),
        "loha": ("flux", linear, {"hada_w1_a": rand(out, 3), "hada_w1_b": rand(3, wide), "hada_w2_a": rand(out, 3),
                 "hada_w2_b": rand(3, wide), "alpha": torch.tensor(2.0)}),
        "loha of high rank": ("flux", linear, {"hada_w1_a": rand(out, 20), "hada_w1_b": rand(20, wide), "hada_w2_a":
                              rand(out, 20), "hada_w2_b": rand(20, wide), "alpha": torch.tensor(2.0)}),
        "lokr": ("sdxl", convolution, {"lokr_w1": rand(4, 4), "lokr_w2_a": rand(channels // 4, 3), "lokr_w2_b":
                 rand(3, 9 * (channels // 4)), "alpha": torch.tensor(2.0)}),
        "bias": ("flux", linear, {"lora_up.weight": rand(out, 3), "lora_down.weight": rand(3, wide), "diff_b":
                 rand(out)}),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(tmp_path: Path, kind: str) -> None:
    family, module, tensors = kinds()[kind]
    path = tmp_path / "lora.safetensors"
    save_file({f"diffusion_model.{module}.{name}": value for name, value in tensors.items()}, path)
    lora = read_lora(path, family=family)
    agrees(lora, family, host_changes(family, to_host_keys(lora), 1.0), 1.0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "glora" in kind])
def test_glora_merged(tmp_path: Path, kind: str) -> None:
    """`merged_delta` is what the host merges: W + s (W A + B)."""
    family, module, tensors = kinds()[kind]
    path = tmp_path / "lora.safetensors"
    save_file({f"diffusion_model.{module}.{name}": value for name, value in tensors.items()}, path)
    lora = read_lora(path, family=family)
    (name, expected), = host_changes(family, to_host_keys(lora), STRENGTH).items()  # fmt: skip
    found = merged_delta(lora, STRENGTH, host_base(family))[name]
    assert (found - expected).abs().max() < 5e-6 * max(1.0, expected.abs().max().item())
