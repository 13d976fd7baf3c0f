"""EriDDIMSchedule with EriDDIMSampler beside diffusers' DDIMScheduler on the same network, through the real host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.sampling_helpers import DDIMCase, Diffusers

CASES = [
    DDIMCase("leading", 1, "alpha[0]", False, 30),
    DDIMCase("leading", 0, "1", False, 7),
    DDIMCase("leading", 145, "1", False, 7),
    DDIMCase("leading", 1, "1", False, 1),
    DDIMCase("trailing", 0, "alpha[0]", False, 12),
    DDIMCase("trailing", 0, "1", False, 7),
    DDIMCase("linspace", 0, "alpha[0]", False, 8),
    DDIMCase("linspace", 0, "1", False, 9),
    DDIMCase("leading", 1, "alpha[0]", True, 10),
    DDIMCase("trailing", 0, "1", True, 7),
    DDIMCase("trailing", 0, "alpha[0]", True, 10),
    DDIMCase("linspace", 0, "1", True, 9),
    DDIMCase("last, then leading", 1, "alpha[0]", False, 8),
]
# epsilon at alpha 0 is infinite in diffusers; ours refuses it, see test_refusals
BOTH = [(case, "v_prediction") for case in CASES if case.steps < 30]
BOTH += [(case, "epsilon") for case in CASES if not case.zero_snr or case.spacing == "leading"]


def model_for(prediction: str) -> Any:
    return h.inputs_for("sdxl-v" if prediction == "v_prediction" else "sdxl")[0]


def ours(
    comfy_host: Any, model: Any, sigmas: Tensor, noise: Tensor, cfg: float = 1.0, latent: Any = None, **options: Any
) -> Tensor:
    """The final latent in the model's own scale, from stock SamplerCustomAdvanced with CFGGuider."""
    latent = latent or {"samples": torch.zeros_like(noise)}
    guider = h.cfg_guider(comfy_host, "sdxl", cfg, model)
    out = h.advanced(comfy_host, guider, h.ddim(comfy_host, **options), sigmas, latent, h.FixedNoise(noise))
    return model.model.process_latent_in(out)


def assert_close(found: Tensor, expected: Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) < 1e-5 * scale


@pytest.mark.parametrize(("case", "prediction"), BOTH, ids=str)
def test_final_latent_is_diffusers(comfy_host: Any, case: DDIMCase, prediction: str) -> None:
    model, noise = model_for(prediction), h.start_noise(torch.zeros(2, 4, 4, 8))
    cfg = 2.0 if prediction == "epsilon" else 1.0
    sigmas = case.sigmas(comfy_host, model)
    assert len(sigmas) == case.steps + 1
    found = ours(comfy_host, model, sigmas, noise, cfg, **case.spaced())
    assert_close(found, Diffusers(model, case, prediction, cfg).run(noise))


#: The timesteps of the others are also what ComfyUI's `normal` scheduler gives.
TOLD = [(case, prediction) for case, prediction in BOTH if case.spacing != "linspace" or case.final != "1"]


@pytest.mark.parametrize(("case", "prediction"), TOLD, ids=str)
def test_a_graph_of_0_1_0_gives_diffusers_final_latent_too(comfy_host: Any, case: DDIMCase, prediction: str) -> None:
    """It holds no `spacing` and no `offset`: the timesteps tell them."""
    model, noise = model_for(prediction), h.start_noise(torch.zeros(2, 4, 4, 8))
    expected = Diffusers(model, case, prediction).run(noise)
    assert_close(ours(comfy_host, model, case.sigmas(comfy_host, model), noise), expected)


ETAS = [
    (DDIMCase("leading", 1, "alpha[0]", False, 6), "epsilon"),
    (DDIMCase("trailing", 0, "1", False, 7), "epsilon"),
    (DDIMCase("linspace", 0, "alpha[0]", False, 6), "epsilon"),
    (DDIMCase("leading", 1, "alpha[0]", False, 6), "v_prediction"),
    (DDIMCase("trailing", 0, "alpha[0]", False, 7), "v_prediction"),
    (DDIMCase("linspace", 0, "1", False, 6), "v_prediction"),
    (DDIMCase("leading", 1, "1", True, 6), "v_prediction"),
    (DDIMCase("trailing", 0, "1", True, 7), "v_prediction"),
    (DDIMCase("linspace", 0, "alpha[0]", True, 6), "v_prediction"),
]


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize(("case", "prediction"), ETAS, ids=str)
def test_with_fresh_noise_in_every_step_too(comfy_host: Any, case: DDIMCase, prediction: str, eta: float) -> None:
    """One torch generator draws first the latent and then each step's noise, in diffusers and here."""
    if eta == 1.0 and case.zero_snr and case.spacing != "leading":
        eta = 0.999  # at 1 diffusers takes the root of -1e-17 in the step from pure noise; see below
    model, noise = model_for(prediction), h.start_noise(torch.zeros(2, 4, 4, 8))
    expected = Diffusers(model, case, prediction).run(noise, eta=eta)
    sigmas = case.sigmas(comfy_host, model)
    assert_close(ours(comfy_host, model, sigmas, noise, eta=eta, **case.spaced()), expected)


def test_ddpm_from_pure_noise_is_finite(comfy_host: Any) -> None:
    """Where diffusers gives NaN: eta 1 leaves nothing of the direction, so it is the limit of eta towards 1."""
    model, noise = model_for("v_prediction"), h.start_noise(torch.zeros(2, 4, 4, 8))
    case = DDIMCase("trailing", 0, "1", True, 7)
    sigmas = case.sigmas(comfy_host, model)
    found = ours(comfy_host, model, sigmas, noise, eta=1.0, **case.spaced())
    near = ours(comfy_host, model, sigmas, noise, eta=1.0 - 1e-7, **case.spaced())
    assert float((found - near).abs().max()) < 5e-3 * float(near.abs().max())


@pytest.mark.parametrize(
    "options",
    [
        {"eta": 0.4, "clip_sample": True, "clip_range": 2.0},
        {"clip_sample": True, "clip_range": 1.5, "use_clipped_model_output": True},
    ],
    ids=str,
)
def test_clipping_is_diffusers(comfy_host: Any, options: dict[str, Any]) -> None:
    model, noise = model_for("epsilon"), h.start_noise(torch.zeros(2, 4, 4, 8))
    case = DDIMCase("leading", 1, "alpha[0]", False, 10)
    clip = {"clip_sample": True, "clip_sample_range": options["clip_range"]}
    expected = Diffusers(model, case, options=clip).run(
        noise, eta=options.get("eta", 0.0), clipped_output=options.get("use_clipped_model_output", False)
    )
    assert_close(ours(comfy_host, model, case.sigmas(comfy_host, model), noise, **options, **case.spaced()), expected)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_model_patched_to_zero_snr_by_the_stock_node(comfy_host: Any, spacing: str) -> None:
    case = DDIMCase(spacing, 0, "1", True, 7)
    noise = h.start_noise(torch.zeros(2, 4, 4, 8))
    patched = h.node(
        comfy_host, "ModelSamplingDiscrete", model=model_for("v_prediction"), sampling="v_prediction", zsnr=True
    )
    expected = Diffusers(model_for("v_prediction"), case, "v_prediction").run(noise)
    assert_close(ours(comfy_host, patched, case.sigmas(comfy_host, patched), noise, **case.spaced()), expected)


# --- image to image, masks, pieces -----------------------------------------------------------------------------------

LATE = [
    (DDIMCase("leading", 1, "alpha[0]", False, 12, last=7), "epsilon"),
    (DDIMCase("trailing", 0, "alpha[0]", False, 12, last=7), "epsilon"),
    (DDIMCase("trailing", 0, "1", True, 11, last=5), "v_prediction"),
    (DDIMCase("linspace", 0, "1", False, 12, last=7), "v_prediction"),
    (DDIMCase("leading", 1, "alpha[0]", False, 20, last=1), "epsilon"),
]


def picture(shape: tuple[int, ...] = (2, 4, 4, 8)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize(("case", "prediction"), LATE, ids=str)
def test_image_to_image_is_diffusers(comfy_host: Any, case: DDIMCase, prediction: str, eta: float) -> None:
    """`denoise` runs the last steps of a longer schedule: diffusers' strength, on the noised picture."""
    model, x0 = model_for(prediction), picture()
    noise = h.start_noise(x0)
    sigmas = case.sigmas(comfy_host, model)
    assert len(sigmas) == (case.last or 0) + 1
    latent = {"samples": model.model.process_latent_out(x0)}
    expected = Diffusers(model, case, prediction).run(noise, start=x0, eta=eta)
    assert_close(ours(comfy_host, model, sigmas, noise, latent=latent, eta=eta, **case.spaced()), expected)


@pytest.mark.parametrize(("case", "prediction"), [*LATE[:2], LATE[3]], ids=str)
def test_inpainting_is_diffusers(comfy_host: Any, case: DDIMCase, prediction: str) -> None:
    """Outside the mask the latent comes back as it was, although alpha[0] leaves noise in everywhere else."""
    model, x0 = model_for(prediction), picture()
    mask = torch.zeros(1, 1, 4, 8)
    mask[..., 3:] = 1.0
    noise = h.start_noise(x0)
    latent = {"samples": model.model.process_latent_out(x0), "noise_mask": mask}
    found = ours(comfy_host, model, case.sigmas(comfy_host, model), noise, latent=latent, **case.spaced())
    assert_close(found, Diffusers(model, case, prediction).run(noise, start=x0, mask=mask))
    assert float((found - x0)[..., :3].abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("case", "cut"),
    [
        (DDIMCase("leading", 1, "alpha[0]", False, 10), 1),
        (DDIMCase("leading", 1, "alpha[0]", False, 10), 4),
        (DDIMCase("trailing", 0, "alpha[0]", False, 7), 3),
        (DDIMCase("linspace", 0, "1", False, 12), 5),
    ],
    ids=str,
)
def test_split_sigmas_in_two_samplers_end_where_one_does(comfy_host: Any, case: DDIMCase, cut: int) -> None:
    model, noise = model_for("epsilon"), h.start_noise(torch.zeros(2, 4, 4, 8))
    high, low = outputs(comfy_host, "SplitSigmas", sigmas=case.sigmas(comfy_host, model), step=cut)
    guider = h.cfg_guider(comfy_host, "sdxl", 1.0, model)
    sampler = h.ddim(comfy_host, **case.spaced())
    first = h.advanced(comfy_host, guider, sampler, high, {"samples": torch.zeros_like(noise)}, h.FixedNoise(noise))
    nothing = h.node(comfy_host, "DisableNoise")
    second = h.advanced(comfy_host, guider, sampler, low, {"samples": first}, nothing)
    assert_close(model.model.process_latent_in(second), Diffusers(model, case).run(noise))


def test_the_hosts_own_sigmas_give_its_euler(comfy_host: Any) -> None:
    """For epsilon models DDIM at eta 0 is Euler in the host's scaling (Karras et al. 2022)."""
    import comfy.samplers

    model, *_ = h.inputs_for("sdxl")
    latent = {"samples": picture((2, 4, 8, 12))}
    sampling = model.get_model_object("model_sampling")
    for scheduler in ("karras", "normal", "simple", "ddim_uniform"):
        sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, 4)
        for part in (sigmas, sigmas[:3], sigmas[2:], sigmas[1:3].flip(0)):
            guider = h.cfg_guider(comfy_host, "sdxl", 2.0)
            expected = h.advanced(comfy_host, guider, comfy.samplers.ksampler("euler"), part, latent)
            found = h.advanced(comfy_host, guider, h.ddim(comfy_host), part, latent)
            assert float((found - expected).abs().max()) < 2e-5 * float(expected.abs().max()), scheduler


def test_the_stock_euler_on_our_schedule_is_diffusers_euler(comfy_host: Any) -> None:
    """EriDDIMSchedule to sigma 0 is EulerDiscreteScheduler's leading spacing, for which the host has no scheduler."""
    import comfy.samplers
    from diffusers import EulerDiscreteScheduler

    model, noise = model_for("epsilon"), h.start_noise(torch.zeros(2, 4, 4, 8))
    case = DDIMCase("leading", 1, "1", False, 8)
    theirs = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    )
    theirs.set_timesteps(8)
    sigmas = case.sigmas(comfy_host, model)
    torch.testing.assert_close(sigmas, theirs.sigmas, rtol=2e-6, atol=0)
    predict = Diffusers(model, case).network((4, 8))
    x = noise * sigmas[0]
    with torch.no_grad():
        for t in theirs.timesteps:
            x = theirs.step(predict(theirs.scale_model_input(x, t), t, h.inputs_for("sdxl")[1]), t, x).prev_sample
    guider = h.cfg_guider(comfy_host, "sdxl", 1.0, model)
    out = h.advanced(
        comfy_host,
        guider,
        comfy.samplers.ksampler("euler"),
        sigmas,
        {"samples": torch.zeros_like(noise)},
        h.FixedNoise(noise),
    )
    assert_close(model.model.process_latent_in(out), x)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_refusals(comfy_host: Any) -> None:
    model, noise = model_for("epsilon"), h.start_noise(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match=r"epsilon.*v-prediction"):
        ours(comfy_host, model, DDIMCase("trailing", 0, "1", True, 5).sigmas(comfy_host, model), noise)
    flow = small_models.flux_model()
    with pytest.raises(ValueError, match=r"no discrete noise table.*EriFluxSchedule"):
        DDIMCase("leading", 1, "1", False, 5).sigmas(comfy_host, flow)
    with pytest.raises(ValueError, match="offset"):
        DDIMCase("leading", 60, "1", False, 20).sigmas(comfy_host, model)
    sigmas = DDIMCase("leading", 1, "1", False, 5).sigmas(comfy_host, model)
    with pytest.raises(ValueError, match=r"not those of a trailing.*EriDDIMSchedule"):
        ours(comfy_host, model, sigmas, noise, spacing="trailing")
    with pytest.raises(ValueError, match=r"1500 steps.*1000 timesteps.*denoise"):
        h.schedule(comfy_host, "sdxl", 30, denoise=0.02)
