"""Flux Kontext's control images: fitted as the trainers fit them, and followed as by diffusers' own pipeline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from comfyui_eridiffusion.spec import read_text
from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.memory_helpers import small_vae
from comfyui_eridiffusion.tests.nodes.small_models import CONTEXT, flux_model
from comfyui_eridiffusion.tests.workflows.test_ui import every_node
from comfyui_eridiffusion.workflows import build

STEPS, GUIDANCE, SEED = 4, 2.5, 9
WIDTH, HEIGHT = 96, 64


@pytest.fixture(scope="module")
def folder(comfy_host: Any) -> Iterator[Path]:
    """ComfyUI's input folder with an image of odd size, with an alpha channel, and a text."""
    import folder_paths

    root = Path(folder_paths.get_input_directory())
    below = root / "kontext_run"
    below.mkdir(exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 256, (77, 131, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(below / "fox.png")
    (below / "text.png").write_text("no image")
    yield below
    for file in below.iterdir():
        file.unlink()
    below.rmdir()


def images(comfy_host: Any, config: str, fit: str, source: str = "<text>") -> list[Tensor]:
    spec = read_text(config, trainer="musubi", source=source)
    found: list[Tensor] = outputs(comfy_host, "EriControlImages", fit=fit, spec=spec)[0]
    return found


def test_images_are_fitted_as_the_trainers_fit_them(comfy_host: Any, folder: Path) -> None:
    """ai-toolkit `flux_kontext.py::generate_single_image`; musubi-tuner `flux_utils.py::preprocess_control_image`."""
    with Image.open(folder / "fox.png") as fox:
        scaled = fox.convert("RGB").resize((WIDTH, HEIGHT), Image.BILINEAR)
        width, height = (math.floor(side / 16) * 16 for side in fox.size)
        cut = fox.crop((0, 0, width, height)).convert("RGB")
    line = f"a --ci kontext_run/fox.png --w {WIDTH} --h {HEIGHT} --d 1"
    for fit, theirs in (("the sample's size", scaled), ("its own size", cut)):
        (found,) = images(comfy_host, line, fit)
        assert torch.equal((found * 255).round().byte(), torch.from_numpy(np.array(theirs))[None])


def test_an_image_is_found_beside_the_config_and_by_its_bare_name(comfy_host: Any, folder: Path) -> None:
    beside = images(comfy_host, "a --ci fox.png", "its own size", str(folder / "prompts.txt"))
    Path(folder.parent, "bare.png").write_bytes((folder / "fox.png").read_bytes())
    bare = images(comfy_host, r"a --ci C:\data\bare.png", "its own size")
    assert torch.equal(beside[0], bare[0])
    Path(folder.parent, "bare.png").unlink()


@pytest.mark.parametrize("size", [(96, 64), (48, 80)])
def test_a_drawn_latent_is_that_of_diffusers_distribution(comfy_host: Any, folder: Path, size: tuple[int, int]) -> None:
    """musubi-tuner's DiagonalGaussian is mean + exp(logvar / 2) * randn_like(mean), as diffusers' with a generator."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    vae, (width, height) = small_vae(16), size
    spec = read_text(f"a --ci kontext_run/fox.png --w {width} --h {height} --d 7", trainer="musubi")
    given = {"fit": "the sample's size", "spec": spec, "vae": vae}
    (image,), (drawn,) = outputs(comfy_host, "EriControlImages", **given, draw="torch-cpu/nchw/float32")
    (mean,) = outputs(comfy_host, "EriControlImages", **given)[1]
    assert torch.equal(mean["samples"], comfy_host.nodes["VAEEncode"]().encode(vae, image)[0]["samples"])
    with torch.inference_mode():
        model = vae.first_stage_model
        pixels = vae.process_input(image.movedim(-1, 1)).to(vae.device, vae.vae_dtype)
        theirs = DiagonalGaussianDistribution(model.quant_conv(model.encoder(pixels)).float().cpu())
    assert torch.allclose(theirs.sample(torch.Generator().manual_seed(7)), drawn["samples"], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(theirs.mean, drawn["samples"], atol=1e-2)
    assert "regularization" in dict(model.named_modules())
    assert not model.regularization._forward_hooks


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a --ci nowhere.png", "sample 0 follows 'nowhere.png', which is not there; tried .*Copy it into"),
        ("a --ci kontext_run/text.png", "sample 0: .*text.png is no image"),
        ("a", "sample 0 names no control image"),
    ],
)
def test_what_cannot_be_followed_is_named(comfy_host: Any, folder: Path, line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        images(comfy_host, line, "its own size")


def pipeline(model: Any) -> Any:
    """diffusers' FluxKontextPipeline on the weights of the host's model, by the host's own map of their names."""
    import comfy.utils
    import diffusers

    theirs = diffusers.FluxTransformer2DModel(
        in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=64, num_attention_heads=2,
        joint_attention_dim=CONTEXT, pooled_projection_dim=CONTEXT, guidance_embeds=True, axes_dims_rope=(16, 24, 24),
    )  # fmt: skip
    state, weights = model.model.diffusion_model.state_dict(), {}
    names = comfy.utils.flux_to_diffusers(model.model.model_config.unet_config)
    for name in theirs.state_dict():
        to = names[name]
        key, span, change = (*to, None, None)[:3] if isinstance(to, tuple) else (to, None, None)
        part = state[key] if span is None else state[key].narrow(*span)
        weights[name] = part if change is None else change(part)
    theirs.load_state_dict(weights)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096, shift=3.0,
        use_dynamic_shifting=True,
    )  # fmt: skip
    return diffusers.FluxKontextPipeline(scheduler, None, None, None, None, None, theirs.eval())


@pytest.mark.parametrize("size", [(8, 12), (6, 10)])
def test_a_sample_that_follows_an_image_is_diffusers(comfy_host: Any, size: tuple[int, int]) -> None:
    """The latent of the image is given to both; its size may be another than the sample's."""
    model = flux_model(hidden=128, seed=3)
    draw = torch.Generator().manual_seed(SEED)
    latent, context, pooled = (
        torch.randn(shape, generator=draw) for shape in ((1, 16, *size), (1, 7, CONTEXT), (1, CONTEXT))
    )
    noise = torch.randn(1, 16, HEIGHT // 8, WIDTH // 8, generator=draw)
    with torch.inference_mode():
        made = pipeline(model)
        theirs = made(
            image=latent, prompt_embeds=context, pooled_prompt_embeds=pooled, width=WIDTH, height=HEIGHT,
            num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type="latent", max_area=WIDTH * HEIGHT,
            _auto_resize=False, latents=made._pack_latents(noise, 1, 16, HEIGHT // 8, WIDTH // 8),
        ).images  # fmt: skip
    theirs = made._unpack_latents(theirs, HEIGHT, WIDTH, 8)
    cond = [[context, {"pooled_output": pooled}]]
    reference = {"samples": model.model.process_latent_out(latent)}
    cond = h.node(comfy_host, "ReferenceLatent", conditioning=cond, latent=reference)
    cond = h.node(comfy_host, "FluxGuidance", conditioning=cond, guidance=GUIDANCE)
    sigmas = h.node(
        comfy_host, "EriFluxSchedule", steps=STEPS, width=WIDTH, height=HEIGHT, base_shift=0.5, max_shift=1.15,
        shifted=True,
    )  # fmt: skip
    ours = h.node(
        comfy_host, "EriSample", model=model, positive=cond, negative=cond, noise=h.FixedNoise(noise),
        sampler=h.flow_euler(comfy_host), sigmas=sigmas, latent={"samples": torch.zeros_like(noise)}, cfg=1.0,
    )["samples"]  # fmt: skip
    assert float((model.model.process_latent_in(ours) - theirs).abs().max() / theirs.abs().max()) < 1e-5


def test_the_graph_of_a_file_with_and_without_images(comfy_host: Any) -> None:
    """Samples without one have a chain of their own, and stock nodes say what they fit otherwise."""
    spec = read_text("a --ci x/fox.png --d 1\nb --d 2\nc --ci x/owl.png --ci z.png --d 3", trainer="musubi")
    workflow = build(spec)
    nodes = workflow.api()
    assert workflow.saves == {"save": (0, 2), "save_2": (1,)}
    assert nodes["control"]["inputs"]["fit"] == "its own size"
    assert (nodes["control"]["inputs"]["draw"], nodes["reference"]["inputs"]["latent"]) == (
        "torch-cuda/nchw/bfloat16",
        ["control", 1],
    )
    assert nodes["guidance"]["inputs"]["conditioning"] == ["reference", 0]
    assert nodes["guidance_2"]["inputs"]["conditioning"] == ["positive_2", 0]
    assert nodes["model"]["inputs"]["unet_name"] == "flux1-kontext-dev.safetensors"
    assert any("x/fox.png, x/owl.png" in note for note in workflow.notes)
    assert any("first only: x/owl.png" in note for note in workflow.notes)
    stock = build(spec, style="stock")
    loaded = [one["inputs"]["image"] for one in stock.api().values() if one["class_type"] == "LoadImage"]
    assert loaded == ["fox.png", "owl.png"]
    assert any("cuts control images" in note for note in stock.notes)
    assert [node["type"] for node in every_node(workflow.ui())].count("ReferenceLatent") == 1
