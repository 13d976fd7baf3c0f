"""A LoRA for a part of the denoising equals a chain of sampler nodes over split sigmas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, write_kohya

STEPS = 8


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    with folders(loras=tmp_path / "loras"):
        yield tmp_path / "loras"


class Scene:
    """A family's model with a LoRA, and stock nodes around it."""

    def __init__(self, comfy_host: Any, loras: Path, family: str, sampler: str = "euler") -> None:
        import comfy.samplers

        self.host, self.nodes = comfy_host, comfy_host.nodes
        self.model, self.positive, self.negative, self.empty = small_models.inputs_for(family)
        write_kohya(loras / "run" / "a-step00000001.safetensors", self.model, 1)
        self.sampler = comfy.samplers.sampler_object(sampler)
        sampling = self.model.get_model_object("model_sampling")
        self.sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", STEPS)
        self.latent: dict[str, Any] = {"samples": self.empty}
        self.noise = self.stock("RandomNoise", noise_seed=7)[0]

    def stock(self, node: str, **inputs: Any) -> Any:
        return outputs(self.host, node, **inputs)

    def with_lora(self, start: float = 0.0, end: float = 1.0, model: Any = None, **inputs: Any) -> Any:
        chosen = {"run": "run", "step": 1, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0, **inputs}
        model = self.model if model is None else model
        return self.nodes["EriLoraAtStep"].execute(model=model, **chosen, start=start, end=end).args[0]

    def sample(self, model: Any, sigmas: Tensor, latent: Any = None, noise: Any = None, sampler: Any = None) -> Tensor:
        guider = self.stock("CFGGuider", model=model, positive=self.positive, negative=self.negative, cfg=2.0)[0]
        return self.stock(
            "SamplerCustomAdvanced",
            noise=self.noise if noise is None else noise,
            guider=guider,
            sampler=sampler or self.sampler,
            sigmas=sigmas,
            latent_image=self.latent if latent is None else latent,
        )[0]["samples"]

    def chain(self, *parts: tuple[Any, Tensor]) -> Tensor:
        """One SamplerCustomAdvanced per part, DisableNoise from the second on."""
        latent, noise = self.latent, self.noise
        for model, sigmas in parts:
            latent = {**self.latent, "samples": self.sample(model, sigmas, latent, noise)}
            noise = self.stock("DisableNoise")[0]
        return latent["samples"]

    def percent_at(self, step: int) -> float:
        """A percent whose sigma lies just above that of a step, so that the step is the first one after it."""
        sampling = self.model.get_model_object("model_sampling")
        above = float(self.sigmas[step] + self.sigmas[step - 1]) / 2
        grid = [number / 1000 for number in range(1001)]
        return max(percent for percent in grid if float(sampling.percent_to_sigma(percent)) > above)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrix products of several threads may round by where their operands lie in memory; here bits are compared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("family", "part"),
    [("flux", "first"), ("flux", "middle"), ("sd35", "last"), ("sd35", "middle"), ("sdxl", "middle")],
)
def test_equals_a_chain_over_split_sigmas(comfy_host: Any, loras: Path, family: str, part: str) -> None:
    scene = Scene(comfy_host, loras, family)
    plain, lora, sigmas = scene.model, scene.with_lora(), scene.sigmas
    a, b = scene.percent_at(3), scene.percent_at(6)
    if part == "first":
        found = scene.sample(scene.with_lora(0.0, a), sigmas)
        expected = scene.chain((lora, sigmas[:4]), (plain, sigmas[3:]))
    elif part == "last":
        found = scene.sample(scene.with_lora(b, 1.0), sigmas)
        expected = scene.chain((plain, sigmas[:7]), (lora, sigmas[6:]))
    else:
        found = scene.sample(scene.with_lora(a, b), sigmas)
        expected = scene.chain((plain, sigmas[:4]), (lora, sigmas[3:7]), (plain, sigmas[6:]))
    assert torch.equal(found, expected)
    assert not torch.equal(found, scene.sample(plain, sigmas))
    assert not torch.equal(found, scene.sample(lora, sigmas))


def test_two_halves_make_a_whole(comfy_host: Any, loras: Path) -> None:
    """Two limited LoRAs on one model, one for each part; at the sigma between them only the second counts.

    The limit lies exactly on a step of the schedule.
    """
    scene = Scene(comfy_host, loras, "flux")
    sampling = scene.model.get_model_object("model_sampling")
    scene.sigmas = torch.tensor([float(sampling.percent_to_sigma(number / STEPS)) for number in range(STEPS + 1)])
    scene.sigmas[0] = 1.0
    both = scene.with_lora(0.5, 1.0, model=scene.with_lora(0.0, 0.5))
    lora = scene.with_lora()
    expected = scene.chain((lora, scene.sigmas[:5]), (lora, scene.sigmas[4:]))
    assert torch.equal(scene.sample(both, scene.sigmas), expected)


@pytest.mark.parametrize("apply", ["beside the weights", "into the weights"])
def test_the_whole_range_is_the_plain_lora(comfy_host: Any, loras: Path, apply: str) -> None:
    scene = Scene(comfy_host, loras, "sd35")
    whole, near = scene.with_lora(0.0, 1.0, apply=apply), scene.with_lora(0.0, 0.999, apply=apply)
    assert whole.patches or whole.injections
    assert not near.patches
    assert not near.injections
    assert torch.equal(scene.sample(near, scene.sigmas), scene.sample(whole, scene.sigmas))


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m", "heun"])
def test_other_samplers_too(comfy_host: Any, loras: Path, sampler: str) -> None:
    """Samplers with memory or noise of their own begin anew at the split, as in a chain."""
    scene = Scene(comfy_host, loras, "flux", sampler)
    a = scene.percent_at(4)
    expected = scene.chain((scene.with_lora(), scene.sigmas[:5]), (scene.model, scene.sigmas[4:]))
    assert torch.equal(scene.sample(scene.with_lora(0.0, a), scene.sigmas), expected)


def test_stock_ksampler_and_our_sampler_heed_it(comfy_host: Any, loras: Path) -> None:
    scene = Scene(comfy_host, loras, "sd35")
    limited = scene.with_lora(0.0, scene.percent_at(4))
    inputs = {"positive": scene.positive, "negative": scene.negative, "cfg": 2.0}
    ours = comfy_host.nodes["EriSample"].execute(
        model=limited, **inputs, noise=scene.noise, sampler=scene.sampler, sigmas=scene.sigmas, latent=scene.latent
    )
    expected = scene.sample(limited, scene.sigmas)
    assert torch.equal(ours.args[0]["samples"], expected)
    stock = comfy_host.nodes["KSampler"]().sample(
        model=limited,
        **inputs,
        seed=7,
        steps=STEPS,
        sampler_name="euler",
        scheduler="normal",
        latent_image=scene.latent,
    )
    assert torch.equal(stock[0]["samples"], expected)


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_a_hard_mask_is_kept(comfy_host: Any, loras: Path, family: str) -> None:
    """Inpainting: with a limited LoRA of strength ~0 the picture is that of one unsplit call."""
    scene = Scene(comfy_host, loras, family)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1.0
    picture = torch.randn(scene.empty.shape, generator=torch.Generator().manual_seed(3))
    scene.latent = {"samples": picture, "noise_mask": mask}
    limited = scene.with_lora(0.0, scene.percent_at(4), strength_model=1e-30)
    found, expected = scene.sample(limited, scene.sigmas), scene.sample(scene.model, scene.sigmas)
    assert torch.allclose(found, expected, atol=2e-4)
    outside = (mask == 0).expand_as(picture)
    assert torch.allclose(found[outside], picture[outside], atol=1e-4)
    scene.latent = {"samples": picture, "noise_mask": mask * 0.5}
    with pytest.raises(comfy_host.pack("errors").NodeInputError, match="noise_mask is soft"):
        scene.sample(limited, scene.sigmas)


def test_previews_count_through(comfy_host: Any, loras: Path) -> None:
    import comfy.samplers

    scene = Scene(comfy_host, loras, "flux")
    guider = comfy.samplers.CFGGuider(scene.with_lora(0.0, scene.percent_at(3)))
    guider.set_conds(scene.positive, scene.negative)
    seen: list[tuple[int, int]] = []
    guider.sample(
        torch.ones_like(scene.empty), scene.empty, scene.sampler, scene.sigmas, disable_pbar=True,
        callback=lambda step, x0, x, total: seen.append((step, total)),
    )  # fmt: skip
    assert seen == [(step, STEPS) for step in range(STEPS)]


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.7, 0.2), (-0.1, 1.0)])
def test_an_empty_range_is_refused(comfy_host: Any, loras: Path, start: float, end: float) -> None:
    scene = Scene(comfy_host, loras, "flux")
    with pytest.raises(comfy_host.pack("errors").NodeInputError, match="0 ≤ start < end ≤ 1"):
        scene.with_lora(start, end)
