"""Sampling nodes as good citizens of the host's executor: what is cached, kept, refused and left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.host_calls import failure, run, turn_previews_on


class SmallModel:
    """A small model with its prompts, in the host's older node form so that it needs nothing of the pack."""

    RETURN_TYPES = ("MODEL", "CONDITIONING", "CONDITIONING")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"family": ("STRING", {"default": "flux"})}}

    def load(self, family: str) -> tuple[Any, Any, Any]:
        return h.inputs_for(family)[:3]


class Number:
    """A linked number, which the host does not check against an input's range."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("INT", {"default": 0})}}

    def give(self, value: int) -> tuple[int]:
        return (value,)


@pytest.fixture(autouse=True)
def helpers(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(comfy_host.nodes, "SmallModel", SmallModel)
    monkeypatch.setitem(comfy_host.nodes, "Number", Number)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph(family: str, **changes: dict[str, Any]) -> dict[str, Any]:
    """Every sampling node of the pack before the stock sampler, on 64 x 64 pixels."""
    guidance = {"rescale": 0.3, "threshold_percentile": 0.0, "threshold_max": 0.0, "mode": "cfg"}
    flow = node("EriFlowEulerSampler", s_churn=0.0, s_tmin=0.0, s_tmax=1.0, s_noise=1.0)
    vp = node("EriDDIMSampler", eta=0.5, clip_sample=False, clip_range=1.0, use_clipped_model_output=False)
    table = {"spacing": "leading", "offset": 1, "zero_terminal_snr": False, "final_alpha": "alpha[0]"}
    schedules = {
        "flux": node(
            "EriFluxSchedule", steps=["steps", 0], width=64, height=64, base_shift=0.5, max_shift=1.15, shifted=True
        ),
        "sd35": node("EriFlowSchedule", steps=["steps", 0], shift=3.0, spacing="linear"),
        "sdxl": node("EriDDIMSchedule", steps=["steps", 0], model=["load", 0], **table),
    }
    empty = "EmptyLatentImage" if family == "sdxl" else "EmptySD3LatentImage"
    return {
        "load": node("SmallModel", family=family),
        "steps": node("Number", value=2),
        "sigmas": schedules[family],
        "sampler": vp if family == "sdxl" else flow,
        "guidance": node("EriGuidance", model=["load", 0], **guidance),
        "noise": node("EriTrainerNoise", seed=3, profile="torch-cpu/nchw/float32", family=family),
        "latent": node(empty, width=64, height=64, batch_size=1),
        "guider": node("CFGGuider", model=["guidance", 0], positive=["load", 1], negative=["load", 2], cfg=2.0),
        "sample": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["latent", 0],
        ),
        "save": node("SaveLatent", samples=["sample", 0], filename_prefix="citizen"),
        **changes,
    }


def cached(executor: Any) -> set[str]:
    return set(next(data["nodes"] for event, data in executor.status_messages if event == "execution_cached"))


@pytest.mark.parametrize("family", h.FAMILIES)
def test_the_same_graph_runs_nothing_again_and_a_change_only_what_hangs_on_it(comfy_host: Any, family: str) -> None:
    executor = run(graph(family))
    assert executor.success
    run(graph(family), executor)
    assert cached(executor) == set(graph(family))
    changed = graph(family)
    changed["noise"]["inputs"]["seed"] = 4
    run(changed, executor)
    assert cached(executor) == set(changed) - {"noise", "sample", "save"}


def test_a_changed_file_runs_again(comfy_host: Any) -> None:
    import os

    import folder_paths

    path = Path(folder_paths.get_input_directory()) / "citizen.safetensors"
    save_file({"noise": torch.randn(1, 16, 8, 8)}, path)

    def prompt() -> dict[str, Any]:  # anew each time: the host writes into the prompt that it runs
        profile = {"profile": "torch-cpu/nchw/float32", "family": "flux"}
        return graph("flux", noise=node("EriTrainerNoise", seed=3, file=path.name, **profile))

    executor = run(prompt())
    assert executor.success
    run(prompt(), executor)
    assert "sample" in cached(executor)
    save_file({"noise": torch.randn(1, 16, 8, 8)}, path)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
    run(prompt(), executor)
    assert not {"noise", "sample", "save"} & cached(executor)


def test_an_error_names_its_node_and_keeps_what_others_made(comfy_host: Any) -> None:
    """No steps, by a link; then corrected: what had run before the error does not run again."""
    executor = run(graph("sd35", steps=node("Number", value=0)))
    assert failure(executor)["node_id"] == "sigmas"
    assert "Set it to 1 or more" in failure(executor)["exception_message"]
    finished = set(failure(executor)["executed"])
    assert len(finished) > 1
    run(graph("sd35"), executor)
    assert executor.success
    assert finished - {"steps"} <= cached(executor)


@pytest.mark.parametrize(
    ("family", "other", "message"),
    [("sdxl", "flux", "sigmas start at 1"), ("flux", "sdxl", "flow model")],
)
def test_a_schedule_of_another_family_stops_the_sampler(comfy_host: Any, family: str, other: str, message: str) -> None:
    sigmas = graph(other)["sigmas"]
    if other == "sdxl":
        sigmas["inputs"]["model"] = ["other", 0]
    executor = run(graph(family, sigmas=sigmas, other=node("SmallModel", family=other)))
    assert failure(executor)["node_id"] == "sample"
    assert message in failure(executor)["exception_message"]


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_interrupting_stops_within_the_step_and_reports_progress_per_step(
    comfy_host: Any, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management

    executor = run(graph(family, steps=node("Number", value=5)))
    seen = turn_previews_on(monkeypatch, lambda step: management.interrupt_current_processing(step == 2))
    changed = graph(family, steps=node("Number", value=6))
    run(changed, executor)
    assert seen == [(1, 6), (2, 6)]
    assert any(event == "execution_interrupted" for event, _ in executor.status_messages)
    assert not executor.success


@pytest.mark.parametrize("family", h.FAMILIES)
def test_nothing_that_comes_in_is_changed(comfy_host: Any, family: str) -> None:
    model, positive, negative, empty = h.inputs_for(family)
    latent = {
        "samples": torch.randn(empty.shape, generator=torch.Generator().manual_seed(1)),
        "noise_mask": torch.ones(1, 8, 12),
        "batch_index": [2, 5],
    }
    sigmas = h.schedule(comfy_host, family, 2, denoise=0.5)
    kept = [tensor.clone() for tensor in (latent["samples"], latent["noise_mask"], sigmas, positive[0][0])]
    options = dict(model.model_options)
    noise = h.node(comfy_host, "EriTrainerNoise", seed=1, profile="torch-cpu/nchw/float32", family=family)
    guided = h.node(
        comfy_host,
        "EriGuidance",
        model=model,
        rescale=0.5,
        threshold_percentile=0.9,
        threshold_max=0.0,
        mode="cfg",
    )
    sampler = h.ddim(comfy_host, eta=0.3)
    guider = h.cfg_guider(comfy_host, family, 2.0, guided)
    given = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent}
    out = h.node(comfy_host, "SamplerCustomAdvanced", **given)
    assert out["batch_index"] == [2, 5]
    assert torch.equal(out["noise_mask"], kept[1])
    for before, after in zip(kept, (latent["samples"], latent["noise_mask"], sigmas, positive[0][0]), strict=True):
        assert torch.equal(before, after)
    assert set(latent) == {"samples", "noise_mask", "batch_index"}
    assert dict(model.model_options) == options
    assert negative[0][0].isfinite().all()
