"""What LyCORIS, PEFT and ComfyUI's own extraction store beside plain pairs: the change that each of them means.

Expected values: the formulas of LyCORIS (Qiu et al. 2023 for OFT) in float64, PEFT's own layers, ComfyUI's exchange of
halves (`comfy.utils.swap_scale_shift`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from comfyui_eridiffusion.lora import LoraError, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.lora.fit import check_fit, misfits
from comfyui_eridiffusion.lora.suffixes import MAGNITUDE
from comfyui_eridiffusion.tests.lora.host_models import HIDDEN, host_base, host_changes, host_model
from comfyui_eridiffusion.tests.lora.lora_files import assert_same_changes, write

H = HIDDEN
_M = "diffusion_model."


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 8


def rows(values: Tensor, first: int, whole: int) -> Tensor:
    """The values as rows `first`… of `whole` rows, zeros elsewhere."""
    placed = torch.zeros(whole, *values.shape[1:], dtype=torch.float64)
    placed[first : first + values.shape[0]] = values
    return placed


def swapped(values: Tensor) -> Tensor:
    import comfy.utils

    return comfy.utils.swap_scale_shift(values)


def rotated(blocks: Tensor, weight: Tensor) -> Tensor:
    """(R - 1) W of OFT, R = (1 + Q)(1 - Q)⁻¹ by block, Q skew-symmetric."""
    skew = blocks.double() - blocks.double().transpose(1, 2)
    one = torch.eye(blocks.shape[-1], dtype=torch.float64)
    turn = (one + skew) @ torch.linalg.inv(one - skew) - one
    parts = weight.double().reshape(*blocks.shape[:2], -1)
    return torch.einsum("knm,kn...->km...", turn, parts).reshape(weight.shape)


def agree(path: Path, family: str, expected: Mapping[str, Tensor]) -> None:
    """ComfyUI's change and our own are the expected ones, and every module fits."""
    lora = read_lora(path, family=family)
    base = host_base(family)
    assert misfits(lora, {name: tuple(value.shape) for name, value in base.items()}) == ()
    assert_same_changes(host_changes(family, to_host_keys(lora)), expected)
    assert_same_changes(merged_delta(lora, base=base), expected)


@pytest.mark.usefixtures("comfy_host")
@pytest.mark.parametrize("prefix", ["lycoris_", "transformer."])
@pytest.mark.parametrize("family", ["flux", "sd35"])
def test_whole_differences_and_rotations_of_a_split_projection(tmp_path: Path, family: str, prefix: str) -> None:
    weight = {"flux": "double_blocks.0.img_attn.qkv", "sd35": "joint_blocks.0.x_block.attn.qkv"}[family]
    whole = host_base(family)[f"{_M}{weight}.weight"]
    stem = prefix + "transformer_blocks.0.attn.".replace(".", "_" if prefix.endswith("_") else ".")
    diff, bias, blocks = rand(H, H), rand(H), rand(H // 8, 8, 8)
    tensors = {f"{stem}to_k.diff": diff, f"{stem}to_k.diff_b": bias, f"{stem}to_v.oft_blocks": blocks,
               f"{stem}to_v.alpha": torch.tensor(0.0)}  # fmt: skip
    change = rows(diff, H, 3 * H) + rows(rotated(blocks, whole[2 * H :]), 2 * H, 3 * H)
    agree(write(tmp_path / "a.safetensors", tensors), family,
          {f"{_M}{weight}.weight": change, f"{_M}{weight}.bias": rows(bias, H, 3 * H)})  # fmt: skip


@pytest.mark.usefixtures("comfy_host")
def test_halves_of_the_last_block(tmp_path: Path) -> None:
    """diffusers has shift and scale of SD 3's last context block in the other order; weight and bias alike."""
    stem, tensors, expected = "lycoris_transformer_blocks_{}_norm1_context_linear", {}, {}
    for block, widths in ((0, 6), (2, 2)):
        name = f"{_M}joint_blocks.{block}.context_block.adaLN_modulation.1"
        diff, bias = rand(widths * H, H, seed=block), rand(widths * H, seed=block + 1)
        tensors |= {f"{stem.format(block)}.diff": diff, f"{stem.format(block)}.diff_b": bias}
        expected[f"{name}.weight"] = swapped(diff).double() if block else diff.double()
        expected[f"{name}.bias"] = swapped(bias).double() if block else bias.double()
    agree(write(tmp_path / "a.safetensors", tensors), "sd35", expected)
    del tensors[f"{stem.format(2)}.diff"]
    del expected[f"{_M}joint_blocks.2.context_block.adaLN_modulation.1.weight"]
    agree(write(tmp_path / "b.safetensors", tensors), "sd35", expected)
    alone = {f"{stem.format(2)}.diff_b": rand(2 * H), "lycoris_context_embedder.diff": rand(H, 80)}
    with pytest.raises(LoraError, match="last block"):  # nothing tells the model's width
        to_host_keys(read_lora(write(tmp_path / "c.safetensors", alone), family="sd35"))


@pytest.mark.usefixtures("comfy_host")
def test_changes_of_the_weight_where_halves_are_exchanged(tmp_path: Path) -> None:
    """OFT and GLoRA act on the weight, whose halves the trainer had in the other order."""
    weight = host_base("flux")[f"{_M}final_layer.adaLN_modulation.1.weight"]
    blocks, name = rand(2 * H // 8, 8, 8), f"{_M}final_layer.adaLN_modulation.1.weight"
    path = write(tmp_path / "oft.safetensors", {"transformer.norm_out.linear.oft_blocks": blocks})
    agree(path, "flux", {name: swapped(rotated(blocks, swapped(weight)))})
    factors = {"a1": rand(H, 4), "a2": rand(4, H), "b1": rand(2 * H, 4), "b2": rand(4, H)}
    path = write(tmp_path / "glora.safetensors",
                 {f"transformer.norm_out.linear.{end}.weight": values for end, values in factors.items()})  # fmt: skip
    a1, a2, b1, b2 = (factors[end].double() for end in ("a1", "a2", "b1", "b2"))
    agree(path, "flux", {name: swapped(swapped(weight).double() @ a1 @ a2 + b1 @ b2)})
    across = {"transformer.norm_out.linear.oft_blocks": rand(3, H * 2 // 3, H * 2 // 3)}
    with pytest.raises(LoraError, match="two halves"):
        read_lora(write(tmp_path / "odd.safetensors", across), family="flux")


NORMS = {
    "flux": {"transformer.transformer_blocks.0.attn.norm_q.diff": "double_blocks.0.img_attn.norm.query_norm",
             "lycoris_transformer_blocks_1_attn_norm_added_k.w_norm": "double_blocks.1.txt_attn.norm.key_norm",
             "diffusion_model.single_blocks.2.norm.query_norm.diff": "single_blocks.2.norm.query_norm"},
    "sd35": {"diffusion_model.joint_blocks.0.x_block.attn.ln_q.diff": "joint_blocks.0.x_block.attn.ln_q",
             "lycoris_transformer_blocks_1_attn2_norm_k.w_norm": "joint_blocks.1.x_block.attn2.ln_k",
             "transformer.transformer_blocks.0.attn.norm_added_q.diff": "joint_blocks.0.context_block.attn.ln_q"},
    "sdxl": {"lora_unet_out_0.w_norm": "out.0", "lora_unet_mid_block_attentions_0_norm.w_norm": "middle_block.1.norm"},
}  # fmt: skip


@pytest.mark.usefixtures("comfy_host")
@pytest.mark.parametrize("family", NORMS)
def test_norms(tmp_path: Path, family: str) -> None:
    """ComfyUI calls the weight of Flux' q and k norms `.scale` or `.weight`, by version."""
    base, tensors, expected = host_base(family), {}, {}
    for seed, (key, module) in enumerate(NORMS[family].items()):
        name = next(n for n in (f"{_M}{module}.weight", f"{_M}{module}.scale") if n in base)
        tensors[key] = rand(*base[name].shape, seed=seed)
        expected[name] = tensors[key].double()
    lora = read_lora(write(tmp_path / "a.safetensors", tensors), family=family)
    assert lora.unmatched == ()
    assert_same_changes(host_changes(family, to_host_keys(lora)), expected)


@pytest.mark.usefixtures("comfy_host")
@pytest.mark.parametrize("prefix", ["diffusion_model.", "transformer.", "lora_unet_"])
def test_norms_of_chromas_guidance(tmp_path: Path, prefix: str) -> None:
    """ComfyUI 0.3.75 calls their weights `.scale`, which its own loader finds under no file's name."""
    import comfy.lora

    from comfyui_eridiffusion.host.lora.names import host_patches, model_names

    base, module = host_base("chroma"), "distilled_guidance_layer.norms.1"
    name = next(n for n in (f"{_M}{module}.weight", f"{_M}{module}.scale") if n in base)
    change = rand(*base[name].shape)
    key = prefix + (module.replace(".", "_") if prefix.endswith("_") else module)
    lora = read_lora(write(tmp_path / "a.safetensors", {f"{key}.diff": change}), family="chroma")
    assert lora.unmatched == ()
    keys = to_host_keys(lora)
    names = model_names(SimpleNamespace(model=host_model("chroma")))
    patches, loaded = host_patches(keys, names, names.key_map)
    assert loaded == set(keys)
    applied = comfy.lora.calculate_weight([(1.0, patches[name], 1.0, None, None)], base[name].clone(), name)
    assert_same_changes({name: applied - base[name]}, {name: change.double()})
    wide = read_lora(write(tmp_path / "wide.safetensors", {f"{key}.diff": rand(7)}), family="chroma")
    with pytest.raises(LoraError, match="does not fit the loaded model in 1 of 1"):
        check_fit(wide, names.shapes)


@pytest.mark.usefixtures("comfy_host")
def test_norms_of_a_text_encoder(tmp_path: Path) -> None:
    values, bias = rand(64), rand(64, seed=1)
    stem = "lora_te1_text_model_encoder_layers_0_layer_norm1"
    path = write(tmp_path / "a.safetensors", {f"{stem}.w_norm": values, f"{stem}.b_norm": bias})
    host = "clip_l.transformer.text_model.encoder.layers.0.layer_norm1"
    found = host_changes("sdxl", to_host_keys(read_lora(path)))
    assert_same_changes(found, {f"{host}.weight": values.double(), f"{host}.bias": bias.double()})


QKV = "lora_unet_double_blocks_0_img_attn_proj"
FACTORS = {
    "lora": {"lora_down.weight": (4, H), "lora_up.weight": (H, 4)},
    "loha": {"hada_w1_a": (H, 4), "hada_w1_b": (4, H), "hada_w2_a": (H, 4), "hada_w2_b": (4, H)},
    "lokr": {"lokr_w1": (8, 8), "lokr_w2": (H // 8, H // 8)},
    "lokr, both factored": {"lokr_w1_a": (8, 4), "lokr_w1_b": (4, 8), "lokr_w2_a": (H // 8, 4),
                            "lokr_w2_b": (4, H // 8)},
}  # fmt: skip


@pytest.mark.parametrize("kind", FACTORS)
def test_a_trained_scalar_is_multiplied_in(tmp_path: Path, kind: str) -> None:
    """LyCORIS' use_scalar, as older versions save it: the change times the scalar."""
    tensors = {f"{QKV}.{end}": rand(*shape, seed=n) for n, (end, shape) in enumerate(FACTORS[kind].items())}
    plain = merged_delta(read_lora(write(tmp_path / "a.safetensors", tensors), family="flux"))
    lora = read_lora(write(tmp_path / "b.safetensors", {**tensors, f"{QKV}.scalar": torch.tensor(0.5)}), family="flux")
    assert_same_changes(merged_delta(lora), {name: 0.5 * change.double() for name, change in plain.items()})
    assert "scalar" not in str(list(to_host_keys(lora)))
    assert "factor" in str(lora.notes)


@pytest.mark.parametrize(("alpha", "dim", "scale"), [(1.0, "32", 1 / 32), (32.0, "32", 1.0), (1.0, "", 1.0)])
def test_alpha_of_a_lokr_with_whole_factors(tmp_path: Path, alpha: float, dim: str, scale: float) -> None:
    """LyCORIS stores alpha = dim there, scale 1; where the header's own alpha stands, alpha / dim is meant."""
    w1, w2 = rand(8, 8), rand(H // 8, H // 8, seed=1)
    tensors = {f"{QKV}.lokr_w1": w1, f"{QKV}.lokr_w2": w2, f"{QKV}.alpha": torch.tensor(alpha)}
    header = {"ss_network_module": "lycoris.kohya", "ss_network_dim": dim, "ss_network_alpha": "1"}
    lora = read_lora(write(tmp_path / "a.safetensors", tensors, header), family="flux")
    expected = {f"{_M}double_blocks.0.img_attn.proj.weight": scale * torch.kron(w1.double(), w2.double())}
    assert_same_changes(merged_delta(lora), expected)


class _Attention(nn.Module):
    """Modules under diffusers' names of Flux, enough for an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList([nn.ModuleDict({"attn": nn.ModuleDict(
            {"to_add_out": nn.Linear(H, H), "to_q": nn.Linear(H, H)}), "norm1": nn.ModuleDict(
            {"linear": nn.Linear(H, 6 * H)})})])  # fmt: skip


@pytest.mark.parametrize("kind", ["LoHa", "LoKr factored", "LoKr whole", "LoKr both"])
def test_pefts_loha_and_lokr_have_scale_alpha_over_r(tmp_path: Path, kind: str) -> None:
    import peft

    more: dict[str, Any] = {"target_modules": ["to_add_out", "to_q", "linear"], "alpha": 6, "init_weights": False,
                            "alpha_pattern": {"to_q": 10}, "r": 256 if kind == "LoKr whole" else 4}  # fmt: skip
    if kind != "LoHa":
        more["decompose_both"] = kind == "LoKr both"
    torch.manual_seed(1)
    model = peft.get_peft_model(_Attention(), (peft.LoHaConfig if kind == "LoHa" else peft.LoKrConfig)(**more))
    model.save_pretrained(tmp_path)
    block = model.base_model.model.transformer_blocks[0]
    change = {name: layer.get_delta_weight("default").detach().double() for name, layer in (
        ("txt_attn.proj", block["attn"]["to_add_out"]), ("img_attn.qkv", block["attn"]["to_q"]),
        ("img_mod.lin", block["norm1"]["linear"]))}  # fmt: skip
    change["img_attn.qkv"] = rows(change["img_attn.qkv"], 0, 3 * H)
    lora = read_lora(tmp_path / "adapter_model.safetensors", family="flux")
    assert_same_changes(merged_delta(lora), {f"{_M}double_blocks.0.{name}.weight": v for name, v in change.items()})


@pytest.mark.usefixtures("comfy_host")
@pytest.mark.parametrize(("bound", "size"), [(0.0, 8), (0.4, 8), (0.4, 3)])
def test_a_trained_rescale_of_oft(tmp_path: Path, bound: float, size: int) -> None:
    """LyCORIS' `rescaled`: rescale · R W. ComfyUI leaves the rescale of an OFT out, and applies that of a BOFT."""
    weight = host_base("flux")[f"{_M}double_blocks.0.img_attn.qkv.weight"].double()
    blocks, rescale = rand(H // size, size, size), 1 + rand(H, 1, seed=1)
    stem = "lycoris_transformer_blocks_0_attn_to_k"
    tensors = {f"{stem}.oft_blocks": blocks, f"{stem}.rescale": rescale, f"{stem}.alpha": torch.tensor(bound)}
    length = (blocks - blocks.transpose(1, 2)).norm()
    part = weight[H : 2 * H]
    turned = part + rotated(blocks * (min(bound / length.item(), 1.0) if bound else 1.0), part)
    lora = read_lora(write(tmp_path / "a.safetensors", tensors), family="flux")
    expected = {f"{_M}double_blocks.0.img_attn.qkv.weight": rows(rescale.double() * turned - part, H, 3 * H)}
    assert_same_changes(host_changes("flux", to_host_keys(lora)), expected)
    assert_same_changes(merged_delta(lora, base=host_base("flux")), expected)


def test_a_magnitude_under_half_converted_names(tmp_path: Path) -> None:
    """diffusers' DoRA after a conversion that renamed the pairs only (ComfyUI issue 3494)."""
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1"
    tensors = {f"{stem}_to_out_0.lora_down.weight": rand(4, 8), f"{stem}_to_out_0.lora_up.weight": rand(8, 4),
               f"{stem}_to_out.0.lora_magnitude_vector": rand(8)}  # fmt: skip
    lora = read_lora(write(tmp_path / "a.safetensors", tensors))
    (adapter,) = lora.adapters
    assert MAGNITUDE in adapter.tensors
    assert (set(adapter.keys), lora.ignored) == (set(tensors), {})


@pytest.mark.parametrize(("width", "encoder"), [(768, "clip_l"), (1280, "clip_g"), (1024, None)])
def test_an_encoders_adapter_that_does_not_say_which(tmp_path: Path, width: int, encoder: str | None) -> None:
    """PEFT saves one text encoder's adapter as `base_model.model.text_model.…`, scaled by alpha / r."""
    import peft
    import transformers

    config = transformers.CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=1, num_attention_heads=8, vocab_size=8
    )
    wanted = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "fc2"], init_lora_weights=False)
    model = peft.get_peft_model(transformers.CLIPTextModel(config), wanted)
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    if encoder is None:
        with pytest.raises(LoraError, match="do not say of which"):
            read_lora(path, family="sdxl")
        return
    layers = {name.split(".encoder.layers.0.")[-1]: layer for name, layer in model.named_modules()}
    stem = f"{encoder}.transformer.text_model.encoder.layers.0."
    expected = {
        f"{stem}{name}.weight": layers[name].get_delta_weight("default").detach().double()
        for name in ("self_attn.q_proj", "mlp.fc2")
    }
    assert_same_changes(merged_delta(read_lora(path)), expected)
