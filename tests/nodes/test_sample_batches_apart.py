"""EriSample with batch_size > 1: what may not share a batch comes out bit for bit as without batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.batch_helpers import FAMILIES, alone, prompts, region, sampled, table
from comfyui_eridiffusion.tests.nodes.test_oom_backoff import ksampler
from comfyui_eridiffusion.tests.nodes.test_sample_node import VP_SIGMAS


def different(name: str, *values: Any) -> Callable[[Any], list[dict[str, Any]]]:
    """Two rows that differ in one input."""
    return lambda comfy_host: table(comfy_host, "sdxl", 2, **{name: lambda row: values[row]})


def of_prompts(*options: dict[str, Any], side: str = "positive", family: str = "sdxl") -> Callable[..., Any]:
    """Two rows whose conditionings differ in their options (on one side), or are the same ones."""

    def rows(comfy_host: Any) -> list[dict[str, Any]]:
        made = table(comfy_host, family, 2)
        for number, row in enumerate(made):
            row[side] = prompts(family, number, **options[number])[side]
        return made

    return rows


def sampler_of(make: Callable[[Any], Any]) -> Callable[[Any], list[dict[str, Any]]]:
    """Two rows with one and the same sampler."""

    def rows(comfy_host: Any) -> list[dict[str, Any]]:
        sampler = make(comfy_host)
        return table(comfy_host, "sdxl", 2, sampler=lambda _: sampler)

    return rows


def own_euler(_: Any) -> Any:
    import comfy.samplers
    from comfy.k_diffusion.sampling import sample_euler

    return comfy.samplers.KSAMPLER(lambda *args, **kwargs: sample_euler(*args, **kwargs))


def two_models(comfy_host: Any) -> list[dict[str, Any]]:
    model = h.inputs_for("sdxl")[0]
    return table(comfy_host, "sdxl", 2, model=lambda row: [model, model.clone()][row])


def two_kinds_of_noise(comfy_host: Any) -> list[dict[str, Any]]:
    rows = table(comfy_host, "sdxl", 2)
    rows[1]["noise"] = h.FixedNoise(rows[1]["noise"].generate_noise(rows[1]["latent"]))
    return rows


def another_model(comfy_host: Any) -> list[dict[str, Any]]:
    """Of a kind that may treat a batch in its own way."""
    model = small_models.sdxl_model()
    model.model.__class__ = type("Another", (type(model.model),), {})
    return table(comfy_host, "sdxl", 2, model=model)


MASK = torch.ones(1, 8, 12)
PICTURE = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(3))
APART: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "model": two_models,
    "unknown model": another_model,
    "noise": two_kinds_of_noise,
    "cfg": different("cfg", 3.0, 3.5),
    "sigmas": different("sigmas", VP_SIGMAS, VP_SIGMAS * 1.01),
    "steps": different("sigmas", VP_SIGMAS, VP_SIGMAS[1:]),
    "sampler": lambda comfy_host: table(comfy_host, "sdxl", 2, sampler=lambda row: ksampler(["euler", "heun"][row])),
    "sampler options": lambda comfy_host: table(
        comfy_host, "sdxl", 2, sampler=lambda row: ksampler("lms", order=row + 2)
    ),
    "one mask": different("latent", {"samples": PICTURE}, {"samples": PICTURE, "noise_mask": MASK}),
    "masks": different(
        "latent",
        {"samples": PICTURE, "noise_mask": MASK},
        {"samples": PICTURE, "noise_mask": torch.ones(1, 16, 24)},
    ),
    "one empty latent": different("latent", {"samples": PICTURE}, {"samples": torch.zeros(1, 4, 8, 12)}),
    "tokens": of_prompts({"tokens": 5}, {"tokens": 10}),
    "tokens of the negative": of_prompts({"tokens": 5}, {"tokens": 10}, side="negative"),
    "guidance": of_prompts({"guidance": 3.5}, {"guidance": 4.0}, family="flux"),
    "guidance of one": of_prompts({"guidance": 3.5}, {}, family="flux"),
    "size ids": of_prompts({"width": 1024}, {"width": 768}),
    "area": of_prompts({"area": (8, 6, 0, 0)}, {"area": (8, 6, 0, 6)}),
    "a region's mask": of_prompts(*[{"mask": MASK, "mask_strength": 1.0}] * 2),
    "when it counts": of_prompts({"start_percent": 0.0}, {"start_percent": 0.5}),
    "reference latents": of_prompts(*[{"reference_latents": [torch.ones(1, 16, 8, 12)]}] * 2, family="flux"),
    "hooks": of_prompts(*[{"hooks": object()}] * 2),
    "entries": lambda comfy_host: [
        row | (region(0) if number else {}) for number, row in enumerate(table(comfy_host, "sdxl", 2))
    ],
    "ancestral": sampler_of(lambda _: ksampler("euler_ancestral")),
    "SDE": sampler_of(lambda _: ksampler("dpmpp_2m_sde")),
    "churn": sampler_of(lambda _: ksampler("euler", s_churn=1.0)),
    "adaptive": sampler_of(lambda _: ksampler("dpm_adaptive")),
    "DDIM with eta": sampler_of(lambda comfy_host: h.ddim(comfy_host, eta=0.5)),
    "unknown": sampler_of(own_euler),
}


@pytest.mark.parametrize("why", APART)
def test_what_differs_is_sampled_as_without_batches(comfy_host: Any, why: str) -> None:
    rows = APART[why](comfy_host)
    keys = comfy_host.pack("host.sampling.sample")._keys(rows, 2)
    assert keys[0] is None or keys[0] != keys[1]
    if why == "hooks":  # the host would ask what they are
        return
    for row, expected in zip(sampled(comfy_host, rows, 2), alone(comfy_host, rows), strict=True):
        assert torch.equal(row["samples"], expected.detach())


def test_the_same_rows_would_share_one(comfy_host: Any) -> None:
    """What the cases above change is what keeps them apart."""
    for family in FAMILIES:
        keys = comfy_host.pack("host.sampling.sample")._keys(table(comfy_host, family, 2), 2)
        assert keys[0] == keys[1] is not None


def test_churn_of_a_flow_model_is_not_shared(comfy_host: Any) -> None:
    rows = table(comfy_host, "sd35", 2, sampler=h.flow_euler(comfy_host, s_churn=1.0))
    for row, expected in zip(sampled(comfy_host, rows, 2), alone(comfy_host, rows), strict=True):
        assert torch.equal(row["samples"], expected)


def test_inpainting_noise_of_the_hosts_ddim_is_not_shared(comfy_host: Any) -> None:
    """KSamplerSelect's ddim is Euler, but with a mask it draws noise from the run's seed."""
    import comfy.samplers

    sampler = comfy.samplers.sampler_object("ddim")
    keys = comfy_host.pack("host.sampling.sample")._keys
    plain = keys(table(comfy_host, "sdxl", 2, sampler=sampler), 2)
    assert plain[0] == plain[1] is not None
    masked = table(comfy_host, "sdxl", 2, sampler=sampler, latent={"samples": PICTURE, "noise_mask": MASK})
    assert keys(masked, 2) == [None, None]
