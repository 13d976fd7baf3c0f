"""Our samplers and schedules in stock nodes, and stock ones with ours; beside the host's own samplers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.samplers.schedules import flux_sigmas
from comfyui_eridiffusion.tests.nodes import sampling_helpers as h

FLOW_SIGMAS = torch.tensor([1.0, 0.97, 0.83, 0.6, 0.31, 0.0])
FAMILIES = ("flux", "sd35", "sdxl")


def stock_euler() -> Any:
    import comfy.samplers

    return comfy.samplers.ksampler("euler")


def picture(family: str) -> dict[str, Tensor]:
    empty = h.inputs_for(family)[3]
    return {"samples": torch.randn(empty.shape, generator=torch.Generator().manual_seed(1))}


def empty(family: str) -> dict[str, Tensor]:
    return {"samples": h.inputs_for(family)[3]}


def guiders(comfy_host: Any, family: str) -> dict[str, Any]:
    """The stock guiders on one model."""
    model, positive, negative, _ = h.inputs_for(family)
    return {
        "BasicGuider": h.node(comfy_host, "BasicGuider", model=model, conditioning=positive),
        "CFGGuider": h.cfg_guider(comfy_host, family, 3.5),
        "DualCFGGuider": h.node(
            comfy_host,
            "DualCFGGuider",
            model=model,
            cond1=positive,
            cond2=negative,
            negative=negative,
            cfg_conds=3.0,
            cfg_cond2_negative=2.0,
            style="regular",
        ),
    }


def own_sampler(comfy_host: Any, family: str) -> Any:
    return h.ddim(comfy_host) if family == "sdxl" else h.flow_euler(comfy_host)


# --- our samplers in stock nodes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["flux", "sd35"])
@pytest.mark.parametrize("guider", ["BasicGuider", "CFGGuider", "DualCFGGuider"])
@pytest.mark.parametrize("start", ["empty", "picture", "masked"])
def test_flow_euler_and_ddim_are_the_hosts_euler_bit_for_bit(
    comfy_host: Any, family: str, guider: str, start: str
) -> None:
    made = guiders(comfy_host, family)[guider]
    latent: dict[str, Any] = empty(family) if start == "empty" else picture(family)
    sigmas = FLOW_SIGMAS if start == "empty" else FLOW_SIGMAS[2:]
    if start == "masked":
        latent["noise_mask"] = torch.linspace(0, 1, 12).expand(1, 8, 12)
    expected = h.advanced(comfy_host, made, stock_euler(), sigmas, latent)
    assert torch.equal(h.advanced(comfy_host, made, h.flow_euler(comfy_host), sigmas, latent), expected)
    assert torch.equal(h.advanced(comfy_host, made, h.ddim(comfy_host), sigmas, latent), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scheduler", ["normal", "karras", "beta"])
def test_ours_with_stock_schedules_in_the_stock_sampler_custom(comfy_host: Any, family: str, scheduler: str) -> None:
    """SamplerCustom, which draws its own noise; image to image, two pictures."""
    model, positive, negative, _ = h.inputs_for(family)
    sigmas = h.node(comfy_host, "BasicScheduler", model=model, scheduler=scheduler, steps=3, denoise=0.7)
    given = {"model": model, "positive": positive, "negative": negative, "cfg": 3.0, "latent_image": picture(family)}
    given |= {"add_noise": True, "noise_seed": 7, "sigmas": sigmas}
    expected = h.node(comfy_host, "SamplerCustom", sampler=stock_euler(), **given)["samples"]
    found = h.node(comfy_host, "SamplerCustom", sampler=own_sampler(comfy_host, family), **given)["samples"]
    if family == "sdxl":
        assert float((found - expected).abs().max()) < 2e-5 * float(expected.abs().max())
    else:
        assert torch.equal(found, expected)


# --- our schedules with stock samplers -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_a_stock_sampler_runs_our_schedule(comfy_host: Any, family: str, sampler: str, denoise: float) -> None:
    """Beside the host's sampler function called by itself with these numbers, without any node between."""
    import comfy.k_diffusion.sampling as k_diffusion
    import comfy.samplers

    sigmas = h.schedule(comfy_host, family, 4, denoise=denoise)
    assert len(sigmas) == 5
    latent = empty(family) if denoise == 1.0 else picture(family)
    seen: list[float] = []

    def watched(model: Any, x: Tensor, levels: Tensor, **rest: Any) -> Tensor:
        seen.extend(levels.tolist())
        out: Tensor = getattr(k_diffusion, f"sample_{sampler}")(model, x, levels, **rest)
        return out

    guider = h.cfg_guider(comfy_host, family, 2.0)
    found = h.advanced(comfy_host, guider, comfy.samplers.ksampler(sampler), sigmas, latent)
    expected = h.advanced(comfy_host, guider, comfy.samplers.KSAMPLER(watched), sigmas, latent)
    assert torch.equal(found, expected)
    assert seen == sigmas.tolist()
    assert bool(torch.isfinite(found).all())


def test_the_noise_of_stochastic_samplers_hangs_on_the_seed_alone(comfy_host: Any) -> None:
    guider = h.cfg_guider(comfy_host, "sd35", 1.0)
    noise = h.start_noise(h.inputs_for("sd35")[3])
    state = torch.get_rng_state()
    for sampler in (h.ddim(comfy_host, eta=0.7), h.flow_euler(comfy_host, s_churn=2.0)):
        runs = [
            h.advanced(comfy_host, guider, sampler, FLOW_SIGMAS, empty("sd35"), h.FixedNoise(noise, seed))
            for seed in (4, 4, 5)
        ]
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), state)


# --- noise put in along the way --------------------------------------------------------------------------------------


def test_flow_noise_keeps_the_level(comfy_host: Any) -> None:
    """With a model that always predicts zero, what is left at the end is normal noise of the last sigma's strength."""
    zero = ZeroModel(comfy_host)
    sampling = comfy_host.pack("host.sampling.samplers")
    sigmas = torch.tensor([1.0, 0.8, 0.5])
    x = torch.randn(4, 16, 64, 64, generator=torch.Generator().manual_seed(0))
    for eta in (0.5, 1.0):
        out = sampling.sample_ddim(zero, x, sigmas, {"seed": 5}, disable=True, eta=eta)
        assert float(out.std()) == pytest.approx(0.5, rel=5e-3)
        assert abs(float((out * x).mean())) < 0.5  # fresh noise replaced part of the first
    out = sampling.sample_flow_euler(zero, x, sigmas, {"seed": 5}, disable=True, s_churn=0.5, s_tmin=0.1)
    assert float(out.std()) == pytest.approx(0.5, rel=5e-3)


def test_dpmpp_2m_through_the_node_is_the_programs(comfy_host: Any) -> None:
    """EriDiffusion V2's own loop, compiled, on a made-up velocity; tests/samplers/test_eridiffusion_v2.py tells how."""
    slope, offset = torch.tensor([0.9, 0.5, 0.1, -0.2, 0.7, 0.3]), torch.tensor([0.4, -0.8, 0.6, 1.0, -0.5, 0.2])

    class Made(ZeroModel):
        def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
            return x - (slope * x + offset * sigma**2) * sigma

    sampler = h.flow_euler(comfy_host, method="dpmpp_2m")
    x, sigmas = torch.tensor([[[[1.2, -0.7, 0.3, -1.5, 0.05, 2.0]]]]), flux_sigmas(26, 4096)
    found = sampler.sampler_function(Made(comfy_host), x, sigmas, disable=True, **sampler.extra_options)
    printed = json.loads((Path(__file__).parents[1] / "samplers/data/eridiffusion_v2.json").read_text("utf-8"))
    assert torch.allclose(found.flatten(), torch.tensor(printed["dpmpp_2m 1024 1024 26"]), rtol=2e-6, atol=2e-6)


class ZeroModel:
    """Stands where the host's wrapped flow model stands; its x0 is zero, whatever comes in."""

    def __init__(self, comfy_host: Any) -> None:
        import comfy.model_sampling

        class Sampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
            pass

        self.inner_model, self.model_sampling = self, Sampling()

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        return torch.zeros_like(x)


# --- sigmas that no step can be made of, through the stock sampler ---------------------------------------------------

BAD = [
    ("sd35", [1.0], {}, "Set steps to 1 or more"),
    ("sd35", [1.0, 0.0, 0.0], {}, "only the last may be 0"),
    ("sd35", [0.0, 0.5, 1.0], {}, "SetFirstSigma"),
    ("sd35", [1.0, math.nan, 0.0], {}, "finite"),
    ("sd35", [1.0, -0.5, 0.0], {}, "finite and above 0"),
    ("flux", [14.6, 3.0, 0.0], {}, "flow model.*EriFluxSchedule"),
    ("sdxl", [1.0, 0.5, 0.0], {}, "sigmas start at 1.*EriDDIMSchedule"),
    ("sd35", [0.5, 0.8, 0.0], {"eta": 0.5, "s_churn": 1.0}, r"sigmas rise.*(eta|s_churn) to 0"),
]


@pytest.mark.parametrize(("family", "sigmas", "options", "message"), BAD, ids=[case[3] for case in BAD])
@pytest.mark.parametrize("kind", ["euler", "ddim"])
def test_bad_sigmas_say_what_to_change(
    comfy_host: Any, family: str, sigmas: list[float], options: dict[str, float], message: str, kind: str
) -> None:
    name = {"euler": "s_churn", "ddim": "eta"}[kind]
    own = {name: options[name]} if options else {}
    sampler = h.flow_euler(comfy_host, **own) if kind == "euler" else h.ddim(comfy_host, **own)
    with pytest.raises(ValueError, match=message):
        h.advanced(comfy_host, h.cfg_guider(comfy_host, family, 1.0), sampler, torch.tensor(sigmas), empty(family))


def test_churn_is_refused_on_other_models(comfy_host: Any) -> None:
    sampler = h.flow_euler(comfy_host, s_churn=1.0)
    with pytest.raises(ValueError, match="s_churn works on flow models"):
        h.advanced(
            comfy_host, h.cfg_guider(comfy_host, "sdxl", 1.0), sampler, torch.tensor([10.0, 1.0, 0.0]), empty("sdxl")
        )


@pytest.mark.parametrize("kind", ["euler", "ddim"])
def test_inversion_is_the_hosts(comfy_host: Any, kind: str) -> None:
    """Rising sigmas (FlipSigmas, SetFirstSigma) noise a picture, as with the stock sampler."""
    up = h.node(comfy_host, "FlipSigmas", sigmas=FLOW_SIGMAS)
    up = h.node(comfy_host, "SetFirstSigma", sigmas=up, sigma=0.001)
    sampler = h.flow_euler(comfy_host) if kind == "euler" else h.ddim(comfy_host)
    guider, nothing = h.cfg_guider(comfy_host, "sd35", 1.0), h.node(comfy_host, "DisableNoise")
    expected = h.advanced(comfy_host, guider, stock_euler(), up, picture("sd35"), nothing)
    assert torch.equal(h.advanced(comfy_host, guider, sampler, up, picture("sd35"), nothing), expected)
