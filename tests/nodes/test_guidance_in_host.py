"""EriGuidance on all three families beside the papers' formulas, one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h

KINDS = ("flux", "sd35", "sdxl", "sdxl-v")


def guide(comfy_host: Any, model: Any, **changes: Any) -> Any:
    values = {"rescale": 0.0, "threshold_percentile": 0.0, "threshold_max": 0.0, "mode": "cfg", **changes}
    return h.node(comfy_host, "EriGuidance", model=model, **values)


def one_step(comfy_host: Any, kind: str, sigma: float, cfg: float, **changes: Any) -> tuple[Tensor, dict[str, Any]]:
    """x0 after one Euler step to sigma 0 in the model's own scale, and what the network got and gave."""
    import comfy.samplers

    base, _, _, empty = h.inputs_for(kind)
    seen: dict[str, Any] = {}
    handle = base.model.diffusion_model.register_forward_hook(
        lambda _, inputs, out: seen.update(x=inputs[0].clone(), out=out.clone())
    )
    try:
        guider = h.cfg_guider(comfy_host, kind, cfg, guide(comfy_host, base, **changes))
        found = h.advanced(
            comfy_host, guider, comfy.samplers.ksampler("euler"), torch.tensor([sigma, 0.0]), {"samples": empty}
        )
    finally:
        handle.remove()
    return base.model.process_latent_in(found), seen


def expected_x0(kind: str, raw: np.ndarray, seen: dict[str, Any], sigma: float) -> np.ndarray:
    """x0 of a raw output, in float64: flow x - sigma v; epsilon and v with alpha = 1 / (1 + sigma²)."""
    x = seen["x"][: len(raw)].double().numpy()
    if kind in ("flux", "sd35"):
        return x - sigma * raw
    alpha = 1.0 / (1.0 + sigma**2)  # the network's x is already sqrt(alpha) x0 + sqrt(1 - alpha) noise
    if kind == "sdxl":
        return (x - (1 - alpha) ** 0.5 * raw) / alpha**0.5
    return alpha**0.5 * x - (1 - alpha) ** 0.5 * raw


def rescaled(guided: np.ndarray, cond: np.ndarray, phi: float) -> np.ndarray:
    """Lin et al. 2023, eq. 15 and 16."""
    axes = tuple(range(1, guided.ndim))
    spread = [part.std(axis=axes, ddof=1, keepdims=True) for part in (cond, guided)]
    return phi * guided * spread[0] / spread[1] + (1 - phi) * guided


def thresholded(x0: np.ndarray, percentile: float, maximum: float | None) -> np.ndarray:
    """Saharia et al. 2022, section 2.3."""
    flat = np.abs(x0).reshape(len(x0), -1)
    s = np.clip(np.quantile(flat, percentile, axis=1), 1.0, maximum).reshape(-1, 1, 1, 1)
    return np.clip(x0, -s, s) / s


SETTINGS = [
    {"rescale": 0.7},
    {"rescale": 1.0},
    {"threshold_percentile": 0.9},
    {"threshold_percentile": 0.99, "threshold_max": 1.2},
    {"rescale": 0.5, "threshold_percentile": 0.95},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_rescale_and_thresholding_are_their_formulas(comfy_host: Any, kind: str, settings: dict[str, float]) -> None:
    """The host runs both passes in one batch, in either order: one of the two must give the result."""
    cfg, sigma = (30.0 if kind == "sdxl-v" else 5.0), (0.7 if kind in ("flux", "sd35") else 3.0)
    found, seen = one_step(comfy_host, kind, sigma, cfg, **settings)
    halves = [half.double().numpy() for half in seen["out"].chunk(2)]
    errors = []
    for cond, uncond in (halves, halves[::-1]):
        raw = rescaled(uncond + cfg * (cond - uncond), cond, settings.get("rescale", 0.0))
        x0 = expected_x0(kind, raw, seen, sigma)
        if "threshold_percentile" in settings:
            x0 = thresholded(x0, settings["threshold_percentile"], settings.get("threshold_max"))
        errors.append(float(np.abs(found.double().numpy() - x0).max()) / max(1.0, float(np.abs(x0).max())))
    assert min(errors) < 1e-5
    plain, _ = one_step(comfy_host, kind, sigma, cfg)
    assert float((found - plain).abs().max()) > 1e-3 * float(plain.abs().max())  # the setting acts


@pytest.mark.parametrize("kind", KINDS)
def test_zero_star_scales_the_negatives_raw_output(comfy_host: Any, kind: str) -> None:
    sigma = 0.7 if kind in ("flux", "sd35") else 3.0
    found, seen = one_step(comfy_host, kind, sigma, 5.0, zero_star=True)
    halves = [half.double().numpy() for half in seen["out"].chunk(2)]
    errors = []
    for cond, uncond in (halves, halves[::-1]):
        axes = tuple(range(1, cond.ndim))
        scaled = uncond * (cond * uncond).sum(axes, keepdims=True) / (uncond**2).sum(axes, keepdims=True)
        x0 = expected_x0(kind, scaled + 5.0 * (cond - scaled), seen, sigma)
        errors.append(float(np.abs(found.double().numpy() - x0).max()) / max(1.0, float(np.abs(x0).max())))
    assert min(errors) < 1e-5
    assert torch.equal(*(one_step(comfy_host, kind, sigma, 1.0, zero_star=on)[0] for on in (True, False)))


@pytest.mark.parametrize("kind", KINDS)
def test_zero_steps_leave_nothing_of_the_first_outputs(comfy_host: Any, kind: str) -> None:
    sigma = 0.7 if kind in ("flux", "sd35") else 3.0
    found, seen = one_step(comfy_host, kind, sigma, 5.0, zero_steps=1)
    raw = np.zeros_like(seen["out"].chunk(2)[0].double().numpy())
    expected = expected_x0(kind, raw, seen, sigma)
    assert float(np.abs(found.double().numpy() - expected).max()) < 1e-5 * float(np.abs(expected).max())
    assert torch.equal(*(one_step(comfy_host, kind, sigma, 1.0, zero_steps=steps)[0] for steps in (1, 0)))


@pytest.mark.parametrize("late", [0, 1, 2, 5])
def test_guidance_begins_at_its_step(comfy_host: Any, late: int) -> None:
    """Before, one pass is made, as at cfg 1; from there on two."""
    import comfy.samplers

    base, _, _, empty = h.inputs_for("flux")
    rows: list[int] = []
    handle = base.model.diffusion_model.register_forward_hook(lambda _, inputs, out: rows.append(len(out)))
    sigmas = torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0])
    try:
        guider = h.cfg_guider(comfy_host, "flux", 3.0, guide(comfy_host, base, cfg_from_step=late))
        h.advanced(comfy_host, guider, comfy.samplers.ksampler("euler"), sigmas, {"samples": empty})
    finally:
        handle.remove()
    assert rows == [len(empty) * (2 if step >= late else 1) for step in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_neutral_settings_change_no_bit_and_the_model_is_left_alone(comfy_host: Any, kind: str) -> None:
    model = h.inputs_for(kind)[0]
    before = {key: list(value) if isinstance(value, list) else value for key, value in model.model_options.items()}
    guide(comfy_host, model, rescale=0.7, threshold_percentile=0.9)
    assert model.model_options == before
    found, _ = one_step(comfy_host, kind, 0.7, 4.0)
    import comfy.samplers

    guider = h.cfg_guider(comfy_host, kind, 4.0)
    latent = {"samples": h.inputs_for(kind)[3]}
    stock = h.advanced(comfy_host, guider, comfy.samplers.ksampler("euler"), torch.tensor([0.7, 0.0]), latent)
    assert torch.equal(found, model.model.process_latent_in(stock))


def test_embedded_and_bypass_on_flux(comfy_host: Any) -> None:
    """embedded: the positive pass alone, whatever cfg is; bypass: FluxDisableGuidance on both prompts."""
    import comfy.samplers

    model, positive, negative, empty = h.inputs_for("flux")
    sigmas, euler, latent = torch.tensor([1.0, 0.5, 0.0]), comfy.samplers.ksampler("euler"), {"samples": empty}

    def run(guider: Any) -> Tensor:
        return h.advanced(comfy_host, guider, euler, sigmas, latent)

    embedded = h.cfg_guider(comfy_host, "flux", 3.0, guide(comfy_host, model, mode="embedded"))
    assert torch.equal(run(embedded), run(h.node(comfy_host, "BasicGuider", model=model, conditioning=positive)))
    bypass = h.cfg_guider(comfy_host, "flux", 3.0, guide(comfy_host, model, mode="bypass"))
    off = [h.node(comfy_host, "FluxDisableGuidance", conditioning=cond) for cond in (positive, negative)]
    stock = h.node(comfy_host, "CFGGuider", model=model, positive=off[0], negative=off[1], cfg=3.0)
    assert torch.equal(run(bypass), run(stock))
    assert not torch.equal(run(bypass), run(h.cfg_guider(comfy_host, "flux", 3.0)))


def test_patches_of_the_stock_nodes_stay_in_force(comfy_host: Any) -> None:
    """A pass function (SkipLayerGuidanceDiTSimple) under mode embedded, a wrapper under bypass."""
    model = h.inputs_for("flux")[0]
    skipped = h.node(
        comfy_host,
        "SkipLayerGuidanceDiTSimple",
        model=model,
        double_layers="0",
        single_layers="",
        start_percent=0.0,
        end_percent=1.0,
    )
    calls: list[Any] = []
    inner = skipped.model_options["sampler_calc_cond_batch_function"]
    skipped.set_model_sampler_calc_cond_batch_function(lambda args: (calls.append(args["conds"]), inner(args))[1])
    skipped.set_model_unet_function_wrapper(
        lambda apply, params: (calls.append("wrapper"), apply(params["input"], params["timestep"], **params["c"]))[1]
    )
    for mode in ("embedded", "bypass"):
        calls.clear()
        guider = h.cfg_guider(comfy_host, "flux", 3.0, guide(comfy_host, skipped, mode=mode))
        latent = {"samples": h.inputs_for("flux")[3]}
        h.advanced(comfy_host, guider, h.flow_euler(comfy_host), torch.tensor([1.0, 0.0]), latent)
        assert "wrapper" in calls, mode
        assert any(isinstance(entry, list) for entry in calls), mode


@pytest.mark.parametrize("kind", ["sd35", "sdxl"])
@pytest.mark.parametrize("mode", ["embedded", "bypass"])
def test_a_model_without_guidance_embedding_is_refused(comfy_host: Any, kind: str, mode: str) -> None:
    with pytest.raises(ValueError, match=r"no guidance embedding.*Set mode to cfg"):
        guide(comfy_host, h.inputs_for(kind)[0], mode=mode)


def test_a_maximum_below_one_is_refused(comfy_host: Any) -> None:
    with pytest.raises(ValueError, match="threshold_max"):
        guide(comfy_host, h.inputs_for("flux")[0], threshold_percentile=0.9, threshold_max=0.5)


def test_skip_layer_guidance_of_the_stock_node_acts_in_our_sampler(comfy_host: Any) -> None:
    """As in generated SD 3.5 graphs; a small model has layers 0 and 1. Outside its part of the run nothing changes."""
    model, positive, negative, empty = h.inputs_for("sd35")
    given = {"positive": positive, "negative": negative, "cfg": 4.0, "latent": {"samples": empty}}
    given |= {"noise": h.FixedNoise(h.start_noise(empty)), "sampler": h.flow_euler(comfy_host)}

    def run(guided: Any, sigmas: Tensor) -> tuple[Tensor, Tensor]:
        ours = h.node(comfy_host, "EriSample", model=guided, sigmas=sigmas, **given)["samples"]
        guider = h.cfg_guider(comfy_host, "sd35", 4.0, guided)
        return ours, h.advanced(comfy_host, guider, given["sampler"], sigmas, given["latent"])

    skip = {"layers": "1", "scale": 2.5, "start_percent": 0.01, "end_percent": 0.2}
    guided = h.node(comfy_host, "SkipLayerGuidanceSD3", model=model, **skip)
    early, late = torch.tensor([0.95, 0.9, 0.0]), torch.tensor([0.5, 0.2, 0.0])
    for sigmas in (early, late):
        ours, stock = run(guided, sigmas)
        assert torch.equal(ours, stock)
        assert torch.equal(ours, run(model, sigmas)[0]) is (sigmas is late)
