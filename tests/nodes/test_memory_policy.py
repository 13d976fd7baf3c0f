"""EriMemoryPolicy: what each mode does to memory, and that it changes no picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.memory_helpers import (
    FAMILIES,
    loaded_names,
    policy,
    same_weights,
    small_vae,
    weights,
    with_lora,
)
from comfyui_eridiffusion.tests.nodes.test_oom_backoff import arguments, close
from comfyui_eridiffusion.tests.nodes.test_sample_node import node, stock


class Largest(TorchDispatchMode):
    """Remembers how many elements the largest tensor had that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.numel())
        return out


def sample_stock(comfy_host: Any, given: dict[str, Any]) -> tuple[Tensor, int]:
    with Largest() as seen:
        return stock(comfy_host, **given), seen.elements


# --- attention slicing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_sliced_attention_gives_the_same_picture(comfy_host: Any, family: str) -> None:
    """Through the stock sampler; 16 queries at a time out of 21 (flux, sd35) or 64 and 16 (sdxl)."""
    given = arguments(comfy_host, family, batch=2)
    expected = stock(comfy_host, **given)
    untouched = dict(given["model"].model_options["transformer_options"])
    sliced = policy(comfy_host, "attention slicing", model=given["model"], slice_size=16)[0]
    assert given["model"].model_options["transformer_options"] == untouched
    close(stock(comfy_host, **{**given, "model": sliced}), expected)


def test_slices_bound_the_attention_matrix(comfy_host: Any) -> None:
    """1605 tokens (40 x 40 and 5 of text), 2 heads: the matrix is the largest tensor of a run, and shrinks.

    With the host's attention that makes it; the one of PyTorch has none.
    """
    from comfy.ldm.modules import attention

    given = arguments(comfy_host, "flux", batch=1, cfg=1.0)
    given["model"] = given["model"].clone()
    given["model"].model_options["transformer_options"]["optimized_attention_override"] = (
        lambda _, *inputs, **options: attention.attention_basic(*inputs, **options)
    )
    given["latent"] = {"samples": torch.zeros(1, 16, 80, 80)}
    given["sigmas"] = given["sigmas"][:2]
    _, whole = sample_stock(comfy_host, given)
    given["model"] = policy(comfy_host, "attention slicing", model=given["model"], slice_size=64)[0]
    _, sliced = sample_stock(comfy_host, given)
    tokens, heads = 1605, 2
    assert whole >= heads * tokens * tokens
    assert sliced < tokens * 1024 + 1  # now the widest activation (linear1: 3 x 128 + 4 x 128 = 896 a token)


LAYOUTS = [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize("name", ["basic", "sub_quad", "split", "pytorch"])
@pytest.mark.parametrize(("skip_reshape", "skip_output_reshape"), LAYOUTS)
@pytest.mark.parametrize("masked", [False, True])
def test_slices_of_every_attention_of_the_host(
    comfy_host: Any, name: str, skip_reshape: bool, skip_output_reshape: bool, masked: bool
) -> None:
    """Against softmax(q k / sqrt(D) + mask) v in double precision.

    Rounding, with unit roundoff u = eps / 2, D products per logit and M keys: a logit is off by at most
    (D + 2) u sum|q k| / sqrt(D), a weight by twice the largest such relatively plus the exponential's own (a few u) and
    the sum's M u, the result by M u more; each times max|v|.
    """
    from comfy.ldm.modules import attention

    generator = torch.Generator().manual_seed(0)
    batch, heads, tokens, width = 2, 3, 37, 16
    q, k, v = (torch.randn(batch, heads, tokens, width, generator=generator) for _ in range(3))
    mask = torch.randn(1, 1, tokens, tokens, generator=generator) if masked else None
    logits = q.double() @ k.double().transpose(-1, -2) / width**0.5
    exact = (logits + (mask.double() if mask is not None else 0.0)).softmax(-1) @ v.double()
    unit = torch.finfo(torch.float32).eps / 2
    spread = float((q.abs() @ k.abs().transpose(-1, -2)).max()) / width**0.5 + 4.0  # the mask's own size
    bound = (2 * (width + 4) * spread + 2 * tokens + 16) * unit * float(v.abs().max())

    function = getattr(attention, f"attention_{name}")
    options = comfy_host.pack("host.memory.attention").slice_attention({}, 10)  # 10 + 10 + 10 + 7
    given = [q, k, v]
    if not skip_reshape:
        given = [t.transpose(1, 2).reshape(batch, tokens, heads * width) for t in given]
    layout = {"skip_reshape": skip_reshape, "skip_output_reshape": skip_output_reshape}
    result = function(*given, heads, mask=mask, transformer_options=options, **layout)
    if not skip_output_reshape:
        exact = exact.transpose(1, 2).reshape(batch, tokens, heads * width)
    assert result.shape == exact.shape
    assert float((result.double() - exact).abs().max()) <= bound


# --- sequential and offload ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_sequential_streams_the_weights_to_the_same_bits(comfy_host: Any, family: str) -> None:
    given = arguments(comfy_host, family, batch=2)
    model = with_lora(given["model"], seed=3)
    before = weights(model)
    expected = stock(comfy_host, **{**given, "model": model})
    streamed = policy(comfy_host, "sequential", model=model)[0]
    resident: list[int] = []
    streamed.model.diffusion_model.register_forward_hook(lambda *_: resident.append(streamed.loaded_size()))
    for sampler in ("stock", "EriSample"):
        arguments_now = {**given, "model": streamed}
        result = (
            stock(comfy_host, **arguments_now)
            if sampler == "stock"
            else node(comfy_host, "EriSample", **arguments_now)["samples"]
        )
        assert torch.equal(result, expected), sampler
    assert max(resident) < 0.01 * streamed.model_size()  # all but what the host cannot stream
    assert streamed.lowvram_patch_counter() > 0
    assert same_weights(streamed, before)  # patches are applied to copies


def test_offload_leaves_one_model_at_a_time(comfy_host: Any) -> None:
    """CLIP, MODEL and VAE one after the other, through stock nodes; the pictures are those without a policy."""
    import comfy.model_management as management

    management.unload_all_models()
    clip, vae = small_models.sdxl_clip(), small_vae()
    given = arguments(comfy_host, "sdxl", batch=1)
    model = with_lora(given["model"], seed=3)
    before = weights(model)
    seen: list[list[str]] = []
    pictures = []
    for mode in ("auto", "offload"):
        made = policy(comfy_host, mode, model=model, clip=clip, vae=vae)
        cond = comfy_host.nodes["CLIPTextEncode"]().encode(made[1], "a red circle")[0]
        seen.append(loaded_names())
        samples = stock(comfy_host, **{**given, "model": made[0]})
        seen.append(loaded_names())
        image = comfy_host.nodes["VAEDecode"]().decode(made[2], {"samples": samples})[0]
        seen.append(loaded_names())
        latent = comfy_host.nodes["VAEEncode"]().encode(made[2], image)[0]["samples"]
        pictures.append((cond[0][0], cond[0][1]["pooled_output"], samples, image, latent))
        management.unload_all_models() if mode == "auto" else None
    assert [len(names) for names in seen] == [1, 2, 3, 1, 1, 1]
    assert seen[3:] == [["SDXLClipModel"], ["SDXL"], ["AutoencoderKL"]]
    assert all(torch.equal(a, b) for a, b in zip(*pictures, strict=True))
    assert same_weights(model, before)  # moved off, with its patches, before the VAE ran


def test_offloaded_clip_is_a_clip(comfy_host: Any) -> None:
    """Clones keep the policy; LoRAs, layers and the pack's own text node work on it."""
    clip = small_models.flux_clip()
    offloaded = policy(comfy_host, "offload", clip=clip)[1]
    clone = comfy_host.nodes["CLIPSetLastLayer"]().set_last_layer(offloaded, -2)[0]
    assert type(clone) is type(offloaded)
    assert (clone.layer_idx, offloaded.layer_idx, clip.layer_idx) == (-2, None, None)
    model = small_models.flux_model()
    import comfy.model_management as management

    for encode in (
        lambda given: comfy_host.nodes["CLIPTextEncode"]().encode(given, "a")[0],
        lambda given: given.encode_from_tokens_scheduled(given.tokenize("a")),
        lambda given: [[given.encode_from_tokens(given.tokenize("a")), {}]],
        lambda given: [[given.encode("a"), {}]],
    ):
        management.load_models_gpu([model])
        expected = encode(clip)
        assert torch.equal(encode(offloaded)[0][0], expected[0][0])
        assert loaded_names() == ["FluxClipModel_"]


# --- VAE tiling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tile", "size"), [(64, (12, 20)), (128, (40, 16)), (96, (13, 12))])
def test_vae_tiling_is_the_stock_tiled_nodes(comfy_host: Any, tile: int, size: tuple[int, int]) -> None:
    vae = small_vae()
    tiled = policy(comfy_host, "VAE tiling", vae=vae, tile_size=tile)[2]
    samples = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(1))
    overlap = min(64, tile // 4)  # the decoding node's rule; the encoding one takes what it is given
    with torch.inference_mode():  # as the host's executor runs nodes
        expected = comfy_host.nodes["VAEDecodeTiled"]().decode(vae, {"samples": samples}, tile)[0]
        assert torch.equal(comfy_host.nodes["VAEDecode"]().decode(tiled, {"samples": samples})[0], expected)
        latent = comfy_host.nodes["VAEEncodeTiled"]().encode(vae, expected, tile, overlap)[0]["samples"]
        assert torch.equal(comfy_host.nodes["VAEEncode"]().encode(tiled, expected)[0]["samples"], latent)


def test_what_fits_in_a_tile_is_not_tiled(comfy_host: Any) -> None:
    vae = small_vae()
    tiled = policy(comfy_host, "VAE tiling", vae=vae, tile_size=128)[2]
    samples = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    image = vae.decode(samples)
    assert torch.equal(tiled.decode(samples), image)
    assert torch.equal(tiled.encode(image), vae.encode(image))


def test_tiles_bound_the_decoders_activations(comfy_host: Any) -> None:
    vae = small_vae()
    samples = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    with Largest() as whole:
        vae.decode(samples)
    tiled = policy(comfy_host, "VAE tiling", vae=vae, tile_size=64)[2]
    with Largest() as small:
        tiled.decode(samples)
    assert whole.elements == 32 * 256 * 256  # 32 channels of the full picture
    assert small.elements <= 32 * 64 * 128 + 3 * 256 * 256  # a tile of twice the width, and the picture itself


# --- the node --------------------------------------------------------------------------------------------------------


def test_auto_and_other_kinds_are_handed_on(comfy_host: Any) -> None:
    model, clip, vae = small_models.sd35_model(), small_models.sd1_clip(), small_vae()
    given = {"model": model, "clip": clip, "vae": vae}
    assert policy(comfy_host, "auto", **given) == (model, clip, vae)
    assert policy(comfy_host, "attention slicing", **given)[1:] == (clip, vae)
    assert policy(comfy_host, "VAE tiling", **given)[:2] == (model, clip)


def test_policies_add_up(comfy_host: Any) -> None:
    given = arguments(comfy_host, "sdxl", batch=1)
    model = with_lora(given["model"], seed=3)
    expected = stock(comfy_host, **{**given, "model": model})
    both = policy(
        comfy_host, "attention slicing", slice_size=16, model=policy(comfy_host, "sequential", model=model)[0]
    )[0]
    close(stock(comfy_host, **{**given, "model": both}), expected)
    assert both.lowvram_patch_counter() > 0
    vae = small_vae()
    tiled = policy(comfy_host, "VAE tiling", tile_size=64, vae=policy(comfy_host, "offload", vae=vae)[2])[2]
    samples = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    import comfy.model_management as management

    management.load_models_gpu([model])
    image = tiled.decode(samples)
    assert torch.equal(image, comfy_host.nodes["VAEDecodeTiled"]().decode(vae, {"samples": samples}, 64)[0])
    assert loaded_names() == ["AutoencoderKL"]


def test_nothing_connected_is_an_error_and_what_is_missing_says_so(comfy_host: Any) -> None:
    with pytest.raises(ValueError, match=r"Connect a model, a clip or a vae"):
        policy(comfy_host, "offload")
    blocked = policy(comfy_host, "offload", model=small_models.sd35_model())[2]
    assert blocked.message == "Memory Policy has no vae connected."
