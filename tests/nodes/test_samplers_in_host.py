"""The samplers and schedules in the real host: beside its own samplers, and beside diffusers' DDIMScheduler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models

SIZE = (2, 0, 8, 12)  # batch, (channels), height, width


def start_noise(latent: Tensor, seed: int = 11) -> Tensor:
    return torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))


class FixedNoise:
    """A NOISE that gives one tensor."""

    def __init__(self, noise: Tensor, seed: int = 11) -> None:
        self.noise, self.seed = noise, seed

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        return self.noise.clone()


def node(comfy_host: Any, name: str, *args: Any, **inputs: Any) -> Any:
    return comfy_host.nodes[name].execute(*args, **inputs).args[0]


def sample(comfy_host: Any, family: str, sampler: Any, sigmas: Tensor, cfg: float = 1.0, **changes: Any) -> Tensor:
    model, positive, negative, latent = small_models.inputs_for(family)
    model = changes.get("model", model)
    latent = changes.get("latent", latent.repeat(2, 1, 1, 2))
    noise = changes.get("noise", FixedNoise(start_noise(latent)))
    return node(
        comfy_host,
        "EriSample",
        cfg=cfg,
        model=model,
        positive=positive,
        negative=negative,
        noise=noise,
        sampler=sampler,
        sigmas=sigmas,
        latent={"samples": latent},
    )["samples"]


def flow_euler(comfy_host: Any, **options: float) -> Any:
    values = {"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": 1.0, "s_noise": 1.0, **options}
    return node(comfy_host, "EriFlowEulerSampler", **values)


def ddim(comfy_host: Any, **options: Any) -> Any:
    defaults = {"eta": 0.0, "clip_sample": False, "clip_range": 1.0, "use_clipped_model_output": False}
    return node(comfy_host, "EriDDIMSampler", **{**defaults, **options})


FLOW_SIGMAS = torch.tensor([1.0, 0.97, 0.83, 0.6, 0.31, 0.0])


@pytest.mark.parametrize("family", ["flux", "sd35"])
@pytest.mark.parametrize("cfg", [1.0, 3.5])
def test_flow_euler_and_ddim_equal_the_hosts_euler_bit_for_bit(comfy_host: Any, family: str, cfg: float) -> None:
    import comfy.samplers

    expected = sample(comfy_host, family, comfy.samplers.ksampler("euler"), FLOW_SIGMAS, cfg)
    assert torch.equal(sample(comfy_host, family, flow_euler(comfy_host), FLOW_SIGMAS, cfg), expected)
    assert torch.equal(sample(comfy_host, family, ddim(comfy_host), FLOW_SIGMAS, cfg), expected)


def test_flow_ddim_eta_one_is_the_hosts_ancestral_euler_in_distribution(comfy_host: Any) -> None:
    """With a model that always predicts zero, the result of eta 1 is normal noise of the last sigma's strength."""
    zero = ZeroModel(comfy_host)
    sampling = comfy_host.pack("nodes._host_samplers")
    sigmas = torch.tensor([1.0, 0.8, 0.5])
    x = torch.randn(4, 16, 64, 64, generator=torch.Generator().manual_seed(0))
    for eta in (0.5, 1.0):
        out = sampling.sample_ddim(zero, x, sigmas, {"seed": 5}, disable=True, eta=eta)
        assert float(out.std()) == pytest.approx(0.5, rel=5e-3)
        assert abs(float((out * x).mean())) < 0.5  # fresh noise replaced part of the first
    out = sampling.sample_flow_euler(zero, x, sigmas, {"seed": 5}, disable=True, s_churn=0.5, s_tmin=0.1)
    assert float(out.std()) == pytest.approx(0.5, rel=5e-3)


class ZeroModel:
    """Stands where the host's wrapped flow model stands; its x0 is zero, whatever comes in."""

    def __init__(self, comfy_host: Any) -> None:
        import comfy.model_sampling

        class Sampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
            pass

        self.inner_model, self.model_sampling = self, Sampling()

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        return torch.zeros_like(x)


# --- DDIM beside diffusers -------------------------------------------------------------------------------------------

DDIM_CASES = [
    ("leading", 1, "alpha[0]", False, 30),
    ("leading", 0, "1", False, 7),
    ("trailing", 0, "alpha[0]", False, 12),
    ("trailing", 0, "1", False, 7),
    ("linspace", 0, "alpha[0]", False, 8),
    ("linspace", 0, "1", False, 9),
    ("leading", 145, "1", False, 7),
    ("trailing", 0, "1", True, 7),
    ("trailing", 0, "alpha[0]", True, 10),
    ("leading", 1, "alpha[0]", True, 10),
    ("linspace", 0, "1", True, 9),
    ("leading", 1, "1", False, 1),
]


def diffusers_ddim(
    comfy_host: Any, model: Any, case: tuple[Any, ...], prediction: str, cfg: float, noise: Tensor, **options: Any
) -> Tensor:
    """Diffusers' own loop around the host's bare network, called directly at diffusers' timesteps."""
    from diffusers import DDIMScheduler

    spacing, offset, final, zero_snr, steps = case
    eta = options.pop("eta", 0.0)
    clipped = options.pop("use_clipped_model_output", False)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing=spacing,
        steps_offset=offset,
        set_alpha_to_one=final == "1",
        rescale_betas_zero_snr=zero_snr,
        prediction_type=prediction,
        **{"clip_sample": False, **options},
    )
    scheduler.set_timesteps(steps)
    _, positive, negative, _ = small_models.inputs_for("sdxl")
    network = model.model.diffusion_model
    size = {"width": noise.shape[3] * 8, "height": noise.shape[2] * 8, "device": "cpu"}
    generator = torch.Generator().manual_seed(11)
    torch.randn(noise.shape, generator=generator)  # the initial noise came from the same generator

    def predict(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        y = model.model.encode_adm(pooled_output=cond[0][1]["pooled_output"], **size)
        batch = x.shape[0]
        return network(x, t.repeat(batch), context=cond[0][0].repeat(batch, 1, 1), y=y.repeat(batch, 1))

    x = noise.clone()
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = predict(x, t.float(), positive)
            if cfg != 1.0:
                uncond = predict(x, t.float(), negative)
                output = uncond + cfg * (output - uncond)
            x = scheduler.step(output, t, x, eta=eta, use_clipped_model_output=clipped, generator=generator).prev_sample
    return x


def ours_ddim(comfy_host: Any, model: Any, case: tuple[Any, ...], cfg: float, noise: Tensor, **options: Any) -> Tensor:
    spacing, offset, final, zero_snr, steps = case
    sigmas = node(
        comfy_host,
        "EriDDIMSchedule",
        model=model,
        steps=steps,
        spacing=spacing,
        offset=offset,
        zero_terminal_snr=zero_snr,
        final_alpha=final,
    )
    assert len(sigmas) == steps + 1
    latent = torch.zeros_like(noise)
    out = sample(
        comfy_host,
        "sdxl",
        ddim(comfy_host, **options),
        sigmas,
        cfg,
        model=model,
        latent=latent,
        noise=FixedNoise(noise),
    )
    return model.model.process_latent_in(out)


# epsilon at alpha 0 is infinite in diffusers; ours refuses it, see test_ddim_refusals
BOTH = [(case, "v_prediction") for case in DDIM_CASES]
BOTH += [(case, "epsilon") for case in DDIM_CASES if not case[3] or case[0] == "leading"]


@pytest.mark.parametrize(("case", "prediction"), BOTH, ids=str)
def test_ddim_final_latent_is_diffusers(comfy_host: Any, case: tuple[Any, ...], prediction: str) -> None:
    model = small_models.sdxl_model(v_prediction=prediction == "v_prediction")
    noise = start_noise(torch.zeros(2, 4, 4, 8))
    cfg = 2.0 if prediction == "epsilon" else 1.0
    expected = diffusers_ddim(comfy_host, model, case, prediction, cfg, noise)
    ours = ours_ddim(comfy_host, model, case, cfg, noise)
    scale = max(1.0, float(expected.abs().max()))
    assert float((ours - expected).abs().max()) < 1e-5 * scale


@pytest.mark.parametrize(
    "options",
    [
        {"eta": 1.0},
        {"eta": 0.4, "clip_sample": True, "clip_range": 2.0},
        {"clip_sample": True, "clip_range": 1.5, "use_clipped_model_output": True},
    ],
    ids=str,
)
def test_ddim_options_are_diffusers(comfy_host: Any, options: dict[str, Any]) -> None:
    model = small_models.sdxl_model()
    noise = start_noise(torch.zeros(2, 4, 4, 8))
    case = ("leading", 1, "alpha[0]", False, 10)
    clip = {"clip_sample_range": options.get("clip_range", 1.0)}
    rest = {key: value for key, value in options.items() if key != "clip_range"}
    expected = diffusers_ddim(comfy_host, model, case, "epsilon", 1.0, noise, **rest, **clip)
    ours = ours_ddim(comfy_host, model, case, 1.0, noise, **options)
    assert float((ours - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max()))


def test_ddim_with_the_hosts_own_sigmas_is_its_euler(comfy_host: Any) -> None:
    """For epsilon models DDIM at eta 0 is Euler in the host's scaling (Karras et al. 2022)."""
    import comfy.samplers

    model = small_models.sdxl_model()
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 9)
    latent = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(1))
    arguments = {"model": model, "latent": latent, "noise": FixedNoise(start_noise(latent))}
    for part in (sigmas, sigmas[:5], sigmas[4:]):
        expected = sample(comfy_host, "sdxl", comfy.samplers.ksampler("euler"), part, **arguments)
        ours = sample(comfy_host, "sdxl", ddim(comfy_host), part, **arguments)
        assert float((ours - expected).abs().max()) < 2e-5 * float(expected.abs().max())


def test_ddim_refusals(comfy_host: Any) -> None:
    model = small_models.sdxl_model()
    case = ("trailing", 0, "1", True, 5)
    with pytest.raises(ValueError, match=r"epsilon.*v-prediction"):
        ours_ddim(comfy_host, model, case, 1.0, start_noise(torch.zeros(1, 4, 8, 8)))
    with pytest.raises(ValueError, match="no discrete noise table"):
        ours_ddim(comfy_host, small_models.flux_model(), case, 1.0, start_noise(torch.zeros(1, 16, 8, 8)))
    with pytest.raises(ValueError, match="offset"):
        ours_ddim(comfy_host, model, ("leading", 60, "1", False, 20), 1.0, start_noise(torch.zeros(1, 4, 8, 8)))
    sigmas = torch.tensor([10.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="s_churn works on flow models"):
        sample(comfy_host, "sdxl", flow_euler(comfy_host, s_churn=1.0), sigmas, latent=torch.zeros(1, 4, 8, 8))


# --- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(512, 512), (768, 1344), (1000, 520)])
def test_flux_schedule_is_bfls(comfy_host: Any, width: int, height: int) -> None:
    import math

    tokens = math.ceil(height / 16) * math.ceil(width / 16)
    mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
    times = torch.linspace(1, 0, 13, dtype=torch.float64)[:-1]
    expected = torch.cat([math.exp(mu) / (math.exp(mu) + (1 / times - 1)), torch.zeros(1)])
    arguments = {"steps": 12, "width": width, "height": height, "base_shift": 0.5, "max_shift": 1.15}
    ours = node(comfy_host, "EriFluxSchedule", shifted=True, **arguments)
    assert float((ours - expected).abs().max()) < 1e-6
    flat = node(comfy_host, "EriFluxSchedule", shifted=False, **arguments)
    assert torch.allclose(flat, torch.linspace(1, 0, 13))


@pytest.mark.parametrize(("spacing", "scheduler"), [("timesteps", "normal"), ("simple", "simple")])
def test_flow_schedule_is_the_hosts(comfy_host: Any, spacing: str, scheduler: str) -> None:
    import comfy.samplers

    model = small_models.sd35_model()
    expected = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, 28)
    ours = node(comfy_host, "EriFlowSchedule", steps=28, shift=3.0, spacing=spacing)
    assert torch.equal(ours, expected)
