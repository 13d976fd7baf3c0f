"""EriSample given what belongs to another model family: an error that says what to change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.sampling_helpers import ddim, node
from comfyui_eridiffusion.tests.nodes.test_sample_node import SIGMAS, arguments

FAMILIES = ["flux", "sd35", "sdxl"]


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_flow_sigmas_on_an_empty_sdxl_latent(comfy_host: Any, cfg: float) -> None:
    given = arguments(comfy_host, "sdxl", sigmas=SIGMAS, cfg=cfg)
    with pytest.raises(ValueError, match=r"start at 1.*Use EriDDIMSchedule"):
        node(comfy_host, "EriSample", **given)
    given["sampler"] = ddim(comfy_host)
    with pytest.raises(ValueError, match=r"start at 1.*Use EriDDIMSchedule"):
        node(comfy_host, "EriSample", **given)


def test_sigmas_from_one_are_fine_on_an_sdxl_picture(comfy_host: Any) -> None:
    picture = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    given = arguments(comfy_host, "sdxl", sigmas=SIGMAS, latent={"samples": picture})
    assert node(comfy_host, "EriSample", **given)["samples"].shape == picture.shape


@pytest.mark.parametrize("name", ["positive", "negative"])
@pytest.mark.parametrize("other", FAMILIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_another_family(comfy_host: Any, family: str, other: str, name: str) -> None:
    given = arguments(comfy_host, family, cfg=3.0)
    given[name] = small_models.inputs_for(other)[1]
    if family == other:
        assert node(comfy_host, "EriSample", **given)["samples"].shape == given["latent"]["samples"].shape
        return
    with pytest.raises(ValueError, match=f"{name} has .* wants .* text encoders of the model's own family"):
        node(comfy_host, "EriSample", **given)


@pytest.mark.parametrize(("family", "channels"), [("flux", 4), ("sd35", 4), ("sdxl", 16)])
def test_a_latent_of_another_family(comfy_host: Any, family: str, channels: int) -> None:
    given = arguments(comfy_host, family, latent={"samples": torch.ones(1, channels, 8, 8)})
    with pytest.raises(ValueError, match=f"latent has {channels} channels.*the model's own family"):
        node(comfy_host, "EriSample", **given)
