"""Files that PEFT and diffusers wrote themselves, on tiny models: the change is what PEFT says it is.

Where diffusers' modules lie in the host is taken from the host's own converters, not from the pack.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.lora import find_checkpoints, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.lora.delta import dora_change, dora_gaps, weight_change
from comfyui_eridiffusion.tests.lora.host_models import host_changes, host_model

pytestmark = pytest.mark.usefixtures("comfy_host")

H = 192
TARGETS = ["to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out", "proj_mlp",
           "proj_out", "net.0.proj", "net.2", "norm1_context.linear", "norm_out.linear", "proj_in"]  # fmt: skip


def diffusers_model(family: str) -> Any:
    """diffusers' model class with the dimensions of the small host model."""
    import diffusers

    if family == "flux":
        return diffusers.FluxTransformer2DModel(
            in_channels=64, num_layers=2, num_single_layers=4, attention_head_dim=64, num_attention_heads=3,
            joint_attention_dim=80, pooled_projection_dim=48, guidance_embeds=True, axes_dims_rope=(16, 24, 24),
        )  # fmt: skip
    if family == "sd35":
        return diffusers.SD3Transformer2DModel(
            sample_size=16, in_channels=16, num_layers=3, attention_head_dim=64, num_attention_heads=3,
            joint_attention_dim=80, caption_projection_dim=H, pooled_projection_dim=96, out_channels=16,
            pos_embed_max_size=8, dual_attention_layers=(0, 1), qk_norm="rms_norm",
        )  # fmt: skip
    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64, 128), layers_per_block=2, cross_attention_dim=80, attention_head_dim=(1, 2, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
        transformer_layers_per_block=(1, 1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=96,
    )  # fmt: skip


def adapted(family: str, **config: Any) -> Any:
    """The model with a PEFT adapter whose matrices are all random."""
    import peft

    settings = peft.LoraConfig(target_modules=TARGETS, init_lora_weights=False, **config)
    torch.manual_seed(3)
    return peft.get_peft_model(diffusers_model(family), settings)


def peft_changes(model: Any) -> dict[str, Tensor]:
    """Per diffusers module what PEFT itself would merge into its weight."""
    named = model.base_model.model.named_modules()
    return {name: module.get_delta_weight("default").detach() for name, module in named if hasattr(module, "lora_A")}


def in_host(family: str, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The changes placed by the host's own map from diffusers' weights to its own."""
    import comfy.utils

    converters = {"flux": comfy.utils.flux_to_diffusers, "sd35": comfy.utils.mmdit_to_diffusers}
    model = host_model(family)
    config = model.model_config.unet_config
    names = converters.get(family, comfy.utils.unet_to_diffusers)(config)
    state = model.diffusion_model.state_dict()
    placed: dict[str, Tensor] = {}
    for module, change in changes.items():
        to = names[f"{module}.weight"]
        name, span, function = (*to, None)[:3] if isinstance(to, tuple) else (to, None, None)
        whole = placed.setdefault(f"diffusion_model.{name}", torch.zeros(state[name].shape))
        part = whole if span is None else whole.narrow(*span)
        part += (change if function is None else function(change)).reshape(part.shape)
    return placed


def check(path: Path, family: str, model: Any) -> None:
    expected = in_host(family, peft_changes(model))
    lora = read_lora(path, family=family)
    assert lora.dialect == "peft"
    assert lora.unmatched == ()
    for found in (host_changes(family, to_host_keys(lora)), merged_delta(lora)):
        assert set(found) == set(expected)
        for name, change in expected.items():
            assert torch.allclose(found[name], change, atol=2e-5, rtol=1e-4), name


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_peft_save_pretrained(tmp_path: Path, family: str) -> None:
    """lora_alpha ≠ r, patterns of both, in adapter_config.json; the step is the folder's number."""
    model = adapted(family, r=4, lora_alpha=6, alpha_pattern={"to_k": 32}, rank_pattern={"to_v": 2})
    folder = tmp_path / "checkpoint-30"
    model.save_pretrained(folder)
    (entry,) = find_checkpoints(tmp_path)
    assert (entry.step, entry.path) == (30, folder / "adapter_model.safetensors")
    lora = read_lora(entry.path, family=family)
    assert (lora.rank, lora.alpha, lora.step, lora.alpha_source) == (4, 6.0, 30, "adapter_config.json")
    check(entry.path, family, model)


def test_peft_rslora(tmp_path: Path) -> None:
    model = adapted("flux", r=4, lora_alpha=6, use_rslora=True)
    model.save_pretrained(tmp_path)
    check(tmp_path / "adapter_model.safetensors", "flux", model)


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
@pytest.mark.parametrize("rslora", [False, True])
def test_diffusers_save_lora_weights(tmp_path: Path, family: str, rslora: bool) -> None:
    """Alpha in the header's lora_adapter_metadata, which the host alone does not read."""
    import diffusers
    from peft import get_peft_model_state_dict

    model = adapted(family, r=4, lora_alpha=6, alpha_pattern={"to_k": 32}, use_rslora=rslora)
    state = {
        name.removeprefix("base_model.model."): tensor for name, tensor in get_peft_model_state_dict(model).items()
    }
    pipeline, part = {
        "flux": (diffusers.FluxPipeline, "transformer"),
        "sd35": (diffusers.StableDiffusion3Pipeline, "transformer"),
        "sdxl": (diffusers.StableDiffusionXLPipeline, "unet"),
    }[family]
    pipeline.save_lora_weights(
        tmp_path,
        **{f"{part}_lora_layers": state, f"{part}_lora_adapter_metadata": model.peft_config["default"].to_dict()},
    )
    path = tmp_path / "pytorch_lora_weights.safetensors"
    lora = read_lora(path, family=family)
    assert (lora.alpha, lora.alpha_source) == (6.0, "header")
    check(path, family, model)


def test_peft_dora(tmp_path: Path) -> None:
    """PEFT divides by the norm of W + change: our trainer formula gives its merged weights, the gap is the host's."""
    model = adapted("flux", r=4, lora_alpha=6, use_dora=True)
    layers = {name: m for name, m in model.base_model.model.named_modules() if hasattr(m, "lora_A")}
    before = {name: layer.get_base_layer().weight.detach().clone() for name, layer in layers.items()}
    model.save_pretrained(tmp_path)
    lora = read_lora(tmp_path / "adapter_model.safetensors", family="flux")
    assert lora.unmatched == ()
    model.merge_adapter()
    base = in_host("flux", before)
    for adapter in lora.adapters:
        name = adapter.module.removeprefix("base_model.model.")
        change = weight_change(adapter)
        assert change is not None
        if adapter.target.swap != "never":
            continue  # its rows are the host's, PEFT's are diffusers'
        ours = dora_change(adapter, before[name], change, by_host=False)
        assert torch.allclose(ours, layers[name].get_base_layer().weight - before[name], atol=1e-4), name
    assert set(dora_gaps(lora.adapters, base)) == {adapter.module for adapter in lora.adapters}
    host = host_changes("flux", to_host_keys(lora))
    merged = merged_delta(lora, base=host_model("flux").state_dict())
    assert all(torch.allclose(merged[name], change, atol=1e-4, rtol=1e-4) for name, change in host.items())


def test_peft_lora_bias(tmp_path: Path) -> None:
    """`lora_bias` of PEFT, scaled as its pair, arrives in the fused bias."""
    model = adapted("flux", r=4, lora_alpha=6, lora_bias=True)
    layers = {name: m for name, m in model.base_model.model.named_modules() if hasattr(m, "lora_A")}
    before = {name: layer.get_base_layer().bias.detach().clone() for name, layer in layers.items()}
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B["default"].bias)
    model.save_pretrained(tmp_path)
    model.merge_adapter()
    found = host_changes("flux", to_host_keys(read_lora(tmp_path / "adapter_model.safetensors", family="flux")))
    name = "single_transformer_blocks.1.attn.to_k"
    added = (layers[name].get_base_layer().bias - before[name]).detach()
    assert added.abs().max() > 0.1
    assert torch.allclose(found["diffusion_model.single_blocks.1.linear1.bias"][H : 2 * H], added, atol=1e-4)
