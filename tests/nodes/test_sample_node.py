"""EriSample, EriTrainerNoise and EriGuidance in the real host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.families.noise_profile import DTYPES
from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import outputs, turn_previews_on
from comfyui_eridiffusion.trainers import TRAINERS

SIGMAS = torch.tensor([1.0, 0.8, 0.4, 0.0])
VP_SIGMAS = torch.tensor([12.0, 4.0, 1.0, 0.0])


def node(comfy_host: Any, name: str, **inputs: Any) -> Any:
    return outputs(comfy_host, name, **inputs)[0]


def euler() -> Any:
    import comfy.samplers

    return comfy.samplers.ksampler("euler")


def arguments(comfy_host: Any, family: str, **changes: Any) -> dict[str, Any]:
    model, positive, negative, latent = small_models.inputs_for(family)
    given = {
        "cfg": 1.0,
        "model": model,
        "positive": positive,
        "negative": negative,
        "noise": node(comfy_host, "RandomNoise", noise_seed=5),
        "sampler": euler(),
        "sigmas": VP_SIGMAS if family == "sdxl" else SIGMAS,
        "latent": {"samples": latent},
    }
    return {**given, **changes}


def stock(comfy_host: Any, cfg: float, **given: Any) -> Tensor:
    guider = node(comfy_host, "CFGGuider", cfg=cfg, **{k: given[k] for k in ("model", "positive", "negative")})
    rest = {key: given[key] for key in ("noise", "sampler", "sigmas")}
    return node(comfy_host, "SamplerCustomAdvanced", guider=guider, latent_image=given["latent"], **rest)["samples"]


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_equals_the_stock_sampler(comfy_host: Any, family: str, cfg: float) -> None:
    given = arguments(comfy_host, family, cfg=cfg)
    before = {key: value.clone() for key, value in given["model"].model.state_dict().items()}
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], stock(comfy_host, **given))
    after = given["model"].model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_no_negative_is_needed_at_cfg_one(comfy_host: Any, family: str) -> None:
    given = arguments(comfy_host, family)
    alone = {key: value for key, value in given.items() if key != "negative"}
    assert torch.equal(node(comfy_host, "EriSample", **alone)["samples"], stock(comfy_host, **given))
    with pytest.raises(ValueError, match=r"cfg is 4\.0, but nothing is connected to negative.*set cfg to 1"):
        node(comfy_host, "EriSample", **{**alone, "cfg": 4.0})


def count_passes(model: Any, calls: list[int]) -> None:
    def hook(_: Any, inputs: tuple[Any, ...], __: Any) -> None:
        calls.append(inputs[0].shape[0])

    model.model.diffusion_model.register_forward_hook(hook)


@pytest.mark.parametrize(("cfg", "rows"), [(1.0, 1), (3.0, 2)])
def test_no_unconditional_pass_at_cfg_one(comfy_host: Any, cfg: float, rows: int) -> None:
    calls: list[int] = []
    given = arguments(comfy_host, "sd35", cfg=cfg)
    count_passes(given["model"], calls)
    node(comfy_host, "EriSample", **given)
    assert sum(calls) == rows * (len(SIGMAS) - 1)


def test_keeps_inputs_and_latent_entries(comfy_host: Any) -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1.0
    samples = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    latent = {"samples": samples, "noise_mask": mask, "batch_index": [3]}
    given = arguments(comfy_host, "sd35", latent=latent)
    kept, sigmas, cond = samples.clone(), given["sigmas"].clone(), given["positive"][0][0].clone()
    result = node(comfy_host, "EriSample", **given)
    assert result["batch_index"] == [3]
    assert torch.equal(result["noise_mask"], mask)
    assert latent["samples"] is samples
    assert torch.equal(samples, kept)
    assert torch.equal(given["sigmas"], sigmas)
    assert torch.equal(given["positive"][0][0], cond)
    assert torch.allclose(result["samples"][:, :, 4:], kept[:, :, 4:], atol=1e-4)  # outside the mask
    assert torch.equal(result["samples"], stock(comfy_host, **given))


@pytest.mark.parametrize("sampler", ["EriFlowEulerSampler", "EriDDIMSampler"])
def test_preview_every_step(comfy_host: Any, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = turn_previews_on(monkeypatch)
    node(comfy_host, "EriSample", **arguments(comfy_host, "sd35", sampler=make_sampler(comfy_host, sampler)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("sampler", "family"), [("EriFlowEulerSampler", "sd35"), ("EriDDIMSampler", "sdxl")])
def test_interrupt_within_a_step_leaves_weights_alone(comfy_host: Any, sampler: str, family: str) -> None:
    import comfy.model_management as management

    given = arguments(comfy_host, family, sampler=make_sampler(comfy_host, sampler))
    before = {key: value.clone() for key, value in given["model"].model.state_dict().items()}
    calls: list[int] = []
    count_passes(given["model"], calls)
    given["model"].model.diffusion_model.register_forward_hook(
        lambda *_: management.interrupt_current_processing() if len(calls) == 2 else None
    )
    with pytest.raises(management.InterruptProcessingException):
        node(comfy_host, "EriSample", **given)
    assert len(calls) == 2
    after = given["model"].model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def make_sampler(comfy_host: Any, name: str) -> Any:
    if name == "EriDDIMSampler":
        options = {"eta": 0.0, "clip_sample": False, "clip_range": 1.0, "use_clipped_model_output": False}
        return node(comfy_host, name, **options)
    return node(comfy_host, name, s_churn=0.0, s_tmin=0.0, s_tmax=1.0, s_noise=1.0)


BAD = [
    ({"positive": []}, "positive is empty"),
    ({"negative": [], "cfg": 3.0}, "negative is empty.*cfg to 1"),
    ({"latent": {"samples": torch.ones(1, 4, 8, 8)}}, "4 channels, the model wants 16"),
    ({"latent": {"samples": torch.full((1, 16, 8, 8), float("nan"))}}, "latent holds NaN"),
    ({"latent": {"samples": torch.zeros(0, 16, 8, 8)}}, "empty batch"),
    ({"sigmas": torch.tensor([])}, "at least two"),
    ({"sigmas": torch.tensor([1.0])}, "at least two"),
    ({"sigmas": torch.tensor([0.0, 0.5, 1.0])}, "must not rise"),
    ({"sigmas": torch.tensor([1.0, float("nan"), 0.0])}, "finite"),
    ({"sigmas": torch.tensor([14.6, 3.0, 0.0])}, "flow model"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_inputs_say_what_to_change(comfy_host: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        node(comfy_host, "EriSample", **arguments(comfy_host, "sd35", **change))


def test_an_empty_latent_of_another_family_is_widened_as_the_host_does(comfy_host: Any) -> None:
    given = arguments(comfy_host, "sd35", latent={"samples": torch.zeros(1, 4, 8, 8)})
    assert node(comfy_host, "EriSample", **given)["samples"].shape == (1, 16, 8, 8)
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], stock(comfy_host, **given))


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indices", [None, [0, 1, 2], [2], [4, 1, 1]])
def test_default_noise_is_the_hosts(comfy_host: Any, indices: list[int] | None) -> None:
    batch = len(indices) if indices else 3
    latent: dict[str, Any] = {"samples": torch.zeros(batch, 16, 8, 12)}
    if indices:
        latent["batch_index"] = indices
    state = torch.random.get_rng_state()
    ours = node(comfy_host, "EriTrainerNoise", seed=42, profile="torch-cpu/nchw/float32", family="auto")
    drawn = ours.generate_noise(latent)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert ours.seed == 42
    assert torch.equal(drawn, node(comfy_host, "RandomNoise", noise_seed=42).generate_noise(latent))


def test_every_noise_profile_draws(comfy_host: Any) -> None:
    profiles = comfy_host.pack("host.sampling.noise").PROFILES
    latent = {"samples": torch.zeros(1, 16, 9, 7)}
    for profile in profiles:
        noise = node(comfy_host, "EriTrainerNoise", seed=7, profile=profile, family="flux").generate_noise(latent)
        assert noise.shape == (1, 16, 9, 7)
        assert noise.dtype == torch.float32
        assert 0.2 < float(noise.std()) < 1.3


def test_every_trainers_noise_is_among_the_choices(comfy_host: Any) -> None:
    """The front end draws a value that is not in a red frame."""
    profiles = comfy_host.pack("host.sampling.noise").PROFILES
    noises = [way.noise for trainer in TRAINERS.values() for way in trainer.ways if way.noise.in_graphs]
    assert {noise.text(dtype) for noise in noises for dtype in DTYPES} <= set(profiles)


def test_noise_refuses_another_family(comfy_host: Any) -> None:
    noise = node(comfy_host, "EriTrainerNoise", seed=7, profile="torch-cpu/nchw/float32", family="sdxl")
    with pytest.raises(ValueError, match="set to sdxl"):
        noise.generate_noise({"samples": torch.zeros(1, 16, 8, 8)})


# --- guidance --------------------------------------------------------------------------------------------------------


def guide(comfy_host: Any, model: Any, **changes: Any) -> Any:
    values = {"rescale": 0.0, "threshold_percentile": 0.0, "threshold_max": 0.0, "mode": "cfg", **changes}
    return node(comfy_host, "EriGuidance", model=model, **values)


def test_neutral_guidance_changes_nothing(comfy_host: Any) -> None:
    given = arguments(comfy_host, "sd35", cfg=4.0)
    expected = stock(comfy_host, **given)
    given["model"] = guide(comfy_host, given["model"])
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], expected)


@pytest.mark.parametrize("family", ["sd35", "sdxl", "sdxl-v"])
def test_rescale_acts_on_the_raw_output(comfy_host: Any, family: str) -> None:
    """One Euler step whose velocity (or epsilon, v) is rescaled by diffusers' formula, written out here."""
    sigma, phi, cfg = (0.7 if family == "sd35" else 3.0), 0.7, 5.0
    given = arguments(comfy_host, family.partition("-")[0], cfg=cfg, sigmas=torch.tensor([sigma, 0.0]))
    if family == "sdxl-v":
        given["model"] = small_models.sdxl_model(v_prediction=True)
    outputs: dict[str, Tensor] = {}
    given["model"].model.diffusion_model.register_forward_hook(
        lambda _, inputs, out: outputs.update(x=inputs[0].clone(), out=out.clone())
    )
    given["model"] = guide(comfy_host, given["model"], rescale=phi)
    result = given["model"].model.process_latent_in(node(comfy_host, "EriSample", **given)["samples"])
    order = outputs["out"].chunk(2)  # the host batches both passes
    expected = []
    for cond, uncond in (order, order[::-1]):
        guided = uncond + cfg * (cond - uncond)
        factor = cond.std() / guided.std()
        raw = phi * guided * factor + (1 - phi) * guided
        x = outputs["x"][:1]
        if family == "sd35":
            expected.append(x - sigma * raw)
        else:
            k = x * (1 + sigma**2) ** 0.5
            v = k / (1 + sigma**2) - raw * sigma / (1 + sigma**2) ** 0.5
            expected.append(v if family == "sdxl-v" else k - sigma * raw)
    assert min(float((result - one).abs().max()) for one in expected) < 1e-4 * float(result.abs().max())


def test_embedded_runs_one_pass_and_bypass_drops_the_embedding(comfy_host: Any) -> None:
    given = arguments(comfy_host, "flux", cfg=3.0)
    single = node(comfy_host, "EriSample", **{**given, "cfg": 1.0})["samples"]
    calls: list[int] = []
    count_passes(given["model"], calls)
    embedded = node(comfy_host, "EriSample", **{**given, "model": guide(comfy_host, given["model"], mode="embedded")})
    assert sum(calls) == len(SIGMAS) - 1
    assert torch.equal(embedded["samples"], single)
    bypassed = node(comfy_host, "EriSample", **{**given, "model": guide(comfy_host, given["model"], mode="bypass")})
    given["positive"] = node(comfy_host, "FluxDisableGuidance", conditioning=given["positive"])
    given["negative"] = node(comfy_host, "FluxDisableGuidance", conditioning=given["negative"])
    assert torch.equal(bypassed["samples"], stock(comfy_host, **given))


def test_threshold_maximum_below_one_is_refused(comfy_host: Any) -> None:
    with pytest.raises(ValueError, match="threshold_max"):
        guide(comfy_host, small_models.flux_model(), threshold_percentile=0.9, threshold_max=0.5)


# --- Flux tokens -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 9)])
def test_patchify_is_the_hosts(comfy_host: Any, height: int, width: int) -> None:
    latent = torch.randn(2, 16, height, width, generator=torch.Generator().manual_seed(2))
    result = comfy_host.nodes["EriFluxPatchify"].execute(text_length=7, latent={"samples": latent}).args
    tokens, ids = small_models.flux_model().model.diffusion_model.process_img(latent)
    assert torch.equal(result[0]["samples"], tokens)
    assert torch.equal(result[1]["samples"], ids)
    assert torch.equal(result[2]["samples"], torch.zeros(2, 7, 3))
    back = node(comfy_host, "EriFluxUnpatchify", width=width * 8, height=height * 8, tokens=result[0])
    assert torch.equal(back["samples"], latent)


def test_noise_profile_takes_any_text_that_the_noise_module_reads(comfy_host: Any) -> None:
    """kohya's SD 3.5 draws in float32 and rounds; a CUDA profile may name its GPU. Neither is in the menu."""
    validate = comfy_host.nodes["EriTrainerNoise"].validate_inputs
    assert validate(profile="torch-cpu/nchw/float32/bfloat16") is True
    assert validate(profile="torch-cuda@rtx-3090/packed/bfloat16") is True
    assert "layout" in validate(profile="torch-cpu/sideways/float32")
