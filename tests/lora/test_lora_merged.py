"""merged_delta and to_host_keys beside the host's own patching for everything that is more than a plain pair."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.lora import LoraError, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.lora.reader import with_scale
from comfyui_eridiffusion.tests.lora.host_models import HIDDEN, host_base, host_changes
from comfyui_eridiffusion.tests.lora.lora_files import write

pytestmark = pytest.mark.usefixtures("comfy_host")

H = HIDDEN
RANK = 4
PROJ = "double_blocks.0.img_attn.proj"
QUERY = "transformer.transformer_blocks.1.attn.to_k"
SWAPPED = "transformer.norm_out.linear"
SINGLE = "transformer.single_transformer_blocks.0.proj_out"  # marks a file as Flux's


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def agree(path: Path, strength: float = 0.6, family: str = "flux", base: bool = False) -> dict[str, Tensor]:
    """Our merged change equals the host's; returns it."""
    lora = read_lora(path, family=family)
    ours = merged_delta(lora, strength, host_base(family) if base else None)
    host = host_changes(family, to_host_keys(lora), strength)
    assert set(ours) == set(host)
    for name, change in host.items():
        assert ours[name].dtype == torch.float32
        assert ours[name].shape == change.shape
        error = (ours[name] - change).abs().max().item()
        assert error < 5e-6 * max(1.0, host_base(family)[name].abs().max().item(), change.abs().max().item()), name
    return ours


@pytest.mark.parametrize("axis", ["input", "output"])
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_dora_scale(tmp_path: Path, axis: str, strength: float) -> None:
    """Magnitudes per input column [1, in] and per output row [out, 1], on a wide and on a fused weight."""
    tensors: dict[str, Tensor] = {}
    for module, out, width in ((PROJ, H, H), ("single_blocks.1.linear2", H, 5 * H)):
        tensors |= {f"{module}.lora_A.weight": rand(RANK, width), f"{module}.lora_B.weight": rand(out, RANK)}
        tensors[f"{module}.dora_scale"] = 1 + rand(1, width).abs() if axis == "input" else 1 + rand(out, 1).abs()
        tensors[f"{module}.alpha"] = torch.tensor(2.0)
    path = write(tmp_path / "a.safetensors", tensors)
    agree(path, strength, base=True)
    with pytest.raises(LoraError, match=rf"needs base.*{PROJ}"):
        merged_delta(read_lora(path))


@pytest.mark.parametrize("ending", ["", ".weight", ".default.weight"])
def test_peft_magnitude_becomes_a_column(tmp_path: Path, ending: str) -> None:
    """With no change and magnitudes equal to the rows' norms W' = W; left one-dimensional the host would go wrong."""
    weight = host_base("flux")["diffusion_model.double_blocks.1.img_attn.qkv.weight"][H : 2 * H]
    tensors = {
        f"{QUERY}.lora_A.weight": rand(RANK, H),
        f"{QUERY}.lora_B.weight": torch.zeros(H, RANK),
        f"{QUERY}.lora_magnitude_vector{ending}": weight.norm(dim=1),
    }
    path = write(tmp_path / "a.safetensors", tensors)
    changes = agree(path, base=True)
    assert max(change.abs().max().item() for change in changes.values()) < 1e-5
    assert to_host_keys(read_lora(path, family="flux"))[f"{QUERY}.dora_scale"].shape == (H, 1)


def test_dora_on_slices_and_swapped_halves(tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for module, out in ((QUERY, H), (SWAPPED, 2 * H), ("transformer.transformer_blocks.1.attn.to_v", H)):
        tensors |= {f"{module}.lora_A.weight": rand(RANK, H), f"{module}.lora_B.weight": rand(out, RANK)}
        tensors[f"{module}.lora_magnitude_vector"] = 10 + rand(out)
    agree(write(tmp_path / "a.safetensors", tensors), base=True)


def test_biases_go_to_the_native_name(tmp_path: Path) -> None:
    """PEFT's lora_B.bias is scaled like the pair; slices of a fused bias are put together."""
    tensors: dict[str, Tensor] = {}
    expected = torch.zeros(3 * H, dtype=torch.float64)
    for index, name in enumerate(("to_q", "to_k", "to_v")):
        module = f"transformer.transformer_blocks.1.attn.{name}"
        bias = rand(H, seed=index)
        tensors |= {f"{module}.lora_A.weight": rand(RANK, H), f"{module}.lora_B.weight": rand(H, RANK),
                    f"{module}.lora_B.bias": bias, f"{module}.alpha": torch.tensor(2.0)}  # fmt: skip
        expected[index * H : (index + 1) * H] = 0.6 * (2.0 / RANK) * bias.double()
    swapped = rand(2 * H, seed=9)
    tensors |= {f"{SWAPPED}.lora_A.weight": rand(RANK, H), f"{SWAPPED}.lora_B.weight": rand(2 * H, RANK),
                f"{SWAPPED}.lora_B.bias": swapped}  # fmt: skip
    changes = agree(write(tmp_path / "a.safetensors", tensors))
    found = changes["diffusion_model.double_blocks.1.img_attn.qkv.bias"]
    assert torch.allclose(found.double(), expected, atol=1e-6)
    final = changes["diffusion_model.final_layer.adaLN_modulation.1.bias"]
    assert torch.allclose(final, 0.6 * torch.cat([swapped[H:], swapped[:H]]), atol=1e-6)


def test_full_differences(tmp_path: Path) -> None:
    """EriDiffusion V2's `--algo full` writes `.diff.weight`, which the host knows as `.diff`; `.diff_b` is a bias."""
    diff, bias = rand(H, H), rand(H)
    path = write(tmp_path / "a.safetensors", {f"{PROJ}.diff.weight": diff, f"{PROJ}.diff_b": bias})
    changes = agree(path)
    assert torch.allclose(changes[f"diffusion_model.{PROJ}.weight"], 0.6 * diff, atol=1e-6)
    assert torch.allclose(changes[f"diffusion_model.{PROJ}.bias"], 0.6 * bias, atol=1e-6)


@pytest.mark.parametrize("alpha", [None, 3.0])
def test_loha_and_lokr(tmp_path: Path, alpha: float | None) -> None:
    """(w1_a w1_b) ∘ (w2_a w2_b) and the Kronecker product; scale 1 without alpha or with two full factors."""
    loha = {"hada_w1_a": (H, 3), "hada_w1_b": (3, H), "hada_w2_a": (H, 3), "hada_w2_b": (3, H)}
    lokr = {"lokr_w1": (4, 6), "lokr_w2_a": (H // 4, 5), "lokr_w2_b": (5, H // 6)}
    full = {"lokr_w1": (8, 8), "lokr_w2": (H // 8, H // 8)}
    tensors: dict[str, Tensor] = {}
    for block, kinds in enumerate((loha, lokr, full)):
        module = f"double_blocks.{block % 2}.{'txt' if block > 1 else 'img'}_attn.proj"
        tensors |= {f"{module}.{kind}": rand(*shape, seed=n) for n, (kind, shape) in enumerate(kinds.items())}
        if alpha is not None:
            tensors[f"{module}.alpha"] = torch.tensor(alpha)
    changes = agree(write(tmp_path / "a.safetensors", tensors))
    first, second = (tensors[f"double_blocks.0.img_attn.proj.hada_w{n}_a"].double()
                     @ tensors[f"double_blocks.0.img_attn.proj.hada_w{n}_b"].double() for n in (1, 2))  # fmt: skip
    scale = 0.6 * (1.0 if alpha is None else alpha / 3)
    found = changes["diffusion_model.double_blocks.0.img_attn.proj.weight"]
    assert torch.allclose(found.double(), scale * first * second, atol=1e-4)


def test_tucker_convolution(tmp_path: Path) -> None:
    """LoCon with a middle tensor: up [out, r], mid [r, r, 3, 3], down [r, in]."""
    module, channels = "lora_unet_input_blocks_1_0_in_layers_2", 32
    down, mid, up = rand(3, channels, 1, 1), rand(3, 3, 3, 3), rand(channels, 3, 1, 1)
    tensors = {f"{module}.lora_down.weight": down, f"{module}.lora_mid.weight": mid,
               f"{module}.lora_up.weight": up, f"{module}.alpha": torch.tensor(2.0)}  # fmt: skip
    changes = agree(write(tmp_path / "a.safetensors", tensors), family="sdxl")
    expected = (
        0.6 * (2 / 3) * torch.einsum("oa,abhw,bi->oihw", up.double()[..., 0, 0], mid.double(), down.double()[..., 0, 0])
    )
    assert torch.allclose(changes["diffusion_model.input_blocks.1.0.in_layers.2.weight"].double(), expected, atol=1e-4)


def test_slices_of_one_weight_add_up(tmp_path: Path) -> None:
    """A fused pair and a split one for the same weight in one file are two changes, not two names."""
    tensors = {"double_blocks.0.img_attn.qkv.lora_A.weight": rand(RANK, H),
               "double_blocks.0.img_attn.qkv.lora_B.weight": rand(3 * H, RANK),
               "double_blocks.0.img_attn.to_v.lora_A.weight": rand(RANK, H, seed=1),
               "double_blocks.0.img_attn.to_v.lora_B.weight": rand(H, RANK, seed=1)}  # fmt: skip
    agree(write(tmp_path / "a.safetensors", tensors))


CORES = {
    "loha": {"hada_w1_a": (3, 32), "hada_w1_b": (3, 32), "hada_t1": (3, 3, 3, 3),
             "hada_w2_a": (3, 32), "hada_w2_b": (3, 32), "hada_t2": (3, 3, 3, 3)},
    "flat lokr": {"lokr_w1": (4, 8), "lokr_w2_a": (8, 5), "lokr_w2_b": (5, 36)},
    "flat loha": {"hada_w1_a": (32, 3), "hada_w1_b": (3, 288), "hada_w2_a": (32, 3), "hada_w2_b": (3, 288)},
    "lokr": {"lokr_w1": (4, 8), "lokr_w2_a": (5, 8), "lokr_w2_b": (5, 4), "lokr_t2": (5, 5, 3, 3)},
}  # fmt: skip


@pytest.mark.parametrize("kind", CORES)
def test_convolutions_of_lycoris(tmp_path: Path, kind: str) -> None:
    """Tucker cores between the factors, and factors over the flattened kernel."""
    module = "input_blocks.1.0.in_layers.2"
    tensors = {f"{module}.{name}": rand(*shape, seed=n) for n, (name, shape) in enumerate(CORES[kind].items())}
    path = write(tmp_path / "a.safetensors", {**tensors, f"{module}.alpha": torch.tensor(2.0)})
    (change,) = agree(path, family="sdxl", base=True).values()
    assert change.abs().max() > 0.1
    if kind == "lokr":  # multiplied out for the host, which cannot: the formula, entry by entry
        first, core, a, b = (t.double() for t in (tensors[f"{module}.{k}"] for k in
                             ("lokr_w1", "lokr_t2", "lokr_w2_a", "lokr_w2_b")))  # fmt: skip
        expected = 0.6 * (2 / 5) * sum(
            core[i, j] * (first[:, None, :, None] * torch.outer(a[i], b[j])[None, :, None, :]).reshape(32, 32, 1, 1)
            for i in range(5) for j in range(5)
        )  # fmt: skip
        assert torch.allclose(change.double(), expected, atol=1e-4)


@pytest.mark.parametrize(("strength", "alpha"), [(1.0, None), (0.6, 0.5), (-0.5, 0.0)])
def test_oft_rotates_the_weight(tmp_path: Path, strength: float, alpha: float | None) -> None:
    """At strength 1 the rows of each block keep their norms as a whole; the host squares other strengths."""
    blocks = 0.1 * rand(6, H // 6, H // 6)
    tensors = {f"{PROJ}.oft_blocks": blocks, **({} if alpha is None else {f"{PROJ}.alpha": torch.tensor(alpha)})}
    path = write(tmp_path / "a.safetensors", tensors)
    (change,) = agree(path, strength, base=True).values()
    if strength == 1.0:
        weight = host_base("flux")[f"diffusion_model.{PROJ}.weight"]
        before, after = ((w.reshape(6, -1).norm(dim=1)) for w in (weight, weight + change))
        assert torch.allclose(before, after, rtol=1e-4)
    with pytest.raises(LoraError, match="needs base"):
        merged_delta(read_lora(path))


@pytest.mark.parametrize(("stages", "strength", "rescaled"), [(1, 1.0, False), (2, 1.0, True), (3, 0.6, False)])
def test_butterfly_oft(tmp_path: Path, stages: int, strength: float, rescaled: bool) -> None:
    tensors = {f"{PROJ}.oft_blocks": 0.1 * rand(stages, H // 8, 8, 8), f"{PROJ}.alpha": torch.tensor(0.0)}
    if rescaled:
        tensors[f"{PROJ}.rescale"] = 1 + 0.1 * rand(H, 1)
    (change,) = agree(write(tmp_path / "a.safetensors", tensors), strength, base=True).values()
    assert change.abs().max() > 0.01


def test_magnitudes_follow_swapped_halves(tmp_path: Path) -> None:
    """diffusers keeps norm_out's halves the other way round: with no change and the rows' own norms, W' = W."""
    weight = host_base("flux")["diffusion_model.final_layer.adaLN_modulation.1.weight"]
    tensors = {
        f"{SWAPPED}.lora_A.weight": rand(RANK, H),
        f"{SWAPPED}.lora_B.weight": torch.zeros(2 * H, RANK),
        f"{SWAPPED}.lora_magnitude_vector": torch.cat([weight[H:], weight[:H]]).norm(dim=1),
        f"{SINGLE}.lora_A.weight": rand(RANK, 5 * H),
        f"{SINGLE}.lora_B.weight": torch.zeros(H, RANK),
    }
    changes = agree(write(tmp_path / "a.safetensors", tensors), base=True)
    assert max(change.abs().max().item() for change in changes.values()) < 1e-5


def test_magnitude_of_a_convolution(tmp_path: Path) -> None:
    """One magnitude per output channel, over all of its kernel."""
    module = "unet.down_blocks.0.resnets.0.conv1"
    weight = host_base("sdxl")["diffusion_model.input_blocks.1.0.in_layers.2.weight"]
    tensors = {
        f"{module}.lora_A.weight": rand(RANK, 32, 3, 3),
        f"{module}.lora_B.weight": torch.zeros(32, RANK, 1, 1),
        f"{module}.lora_magnitude_vector": weight.flatten(1).norm(dim=1).reshape(1, 32, 1, 1),
    }
    (change,) = agree(write(tmp_path / "a.safetensors", tensors), family="sdxl", base=True).values()
    assert change.abs().max() < 1e-5


def test_norm_layers_of_lycoris(tmp_path: Path) -> None:
    """`train_norm` stores whole differences of a norm's weight and bias."""
    module = "lora_unet_input_blocks_4_1_transformer_blocks_0_norm1"
    weight, bias = rand(64), rand(64, seed=1)
    path = write(tmp_path / "a.safetensors", {f"{module}.w_norm": weight, f"{module}.b_norm": bias})
    changes = agree(path, family="sdxl")
    name = "diffusion_model.input_blocks.4.1.transformer_blocks.0.norm1"
    assert torch.allclose(changes[f"{name}.weight"], 0.6 * weight)
    assert torch.allclose(changes[f"{name}.bias"], 0.6 * bias)


def test_a_scale_in_place_of_the_files_alpha(tmp_path: Path) -> None:
    """EriDiffusion V2's sample programs take alpha / rank of their flags, whatever `.alpha` says (lora.rs L145-175)."""
    down, up = rand(RANK, H), rand(H, RANK, seed=1)
    tensors = {f"{PROJ}.lora_A.weight": down, f"{PROJ}.lora_B.weight": up, f"{PROJ}.alpha": torch.tensor(8.0)}
    lora = with_scale(read_lora(write(tmp_path / "a.safetensors", tensors), family="flux"), 1 / 16)
    change = merged_delta(lora)[f"diffusion_model.{PROJ}.weight"]
    torch.testing.assert_close(change, up @ down / 16)
    host = host_changes("flux", to_host_keys(lora), 1.0)[f"diffusion_model.{PROJ}.weight"]
    torch.testing.assert_close(host, up @ down / 16, rtol=1e-4, atol=1e-5)
