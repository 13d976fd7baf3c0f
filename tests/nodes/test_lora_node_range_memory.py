"""A LoRA for a part of the denoising on a device without memory: every part of the run is made in smaller pieces."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes.memory_helpers import FAMILIES, same_weights, weights, with_lora
from comfyui_eridiffusion.tests.nodes.test_oom_backoff import arguments, close, failing, ksampler, out_of_memory, steps
from comfyui_eridiffusion.tests.nodes.test_sample_node import node, stock


def ranged(comfy_host: Any, model: Any) -> Any:
    """MODEL with a LoRA in the middle of the denoising: parts without it, with it, without it, as far as there are
    steps in them."""
    patches = with_lora(model, seed=3).patches
    found = {key: entries[0][1] for key, entries in patches.items()}
    placed = comfy_host.pack("host.lora.placing").Placed({}, {}, found, {}, set(), 1.0)
    return comfy_host.pack("host.lora.active_range").RangedLora(placed, 0.25, 0.75).on(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_halves_the_batch_in_every_part(comfy_host: Any, family: str, caplog: pytest.LogCaptureFixture) -> None:
    given = arguments(comfy_host, family, batch=2)
    expected = stock(comfy_host, **{**given, "model": ranged(comfy_host, given["model"])})
    assert not torch.equal(expected, stock(comfy_host, **given))
    rows: list[int] = []
    given["model"] = ranged(comfy_host, failing(given["model"], lambda params: len(params["input"]) > 2, rows))
    close(node(comfy_host, "EriSample", **given)["samples"], expected)
    assert set(rows) == {2}
    assert sum(rows) == 2 * 2 * (len(given["sigmas"]) - 1)
    assert steps(caplog) == ["caches freed", "the model runs on 2 of 4 latents at a time"]


@pytest.mark.parametrize("family", FAMILIES)
def test_offloads_each_part(comfy_host: Any, family: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each part is loaded anew, and its weights streamed when it does not fit."""
    import comfy.model_management as management

    given = arguments(comfy_host, family, batch=1, cfg=1.0)
    before, model = weights(given["model"]), given["model"].model
    expected = stock(comfy_host, **{**given, "model": ranged(comfy_host, given["model"])})
    given["model"] = ranged(comfy_host, failing(given["model"], lambda _: not model.model_lowvram))
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], expected)
    taken = steps(caplog)
    assert taken[0] == "caches freed"
    assert set(taken[1:]) == {"other models unloaded, this model's weights streamed layer by layer"}
    management.unload_all_models()
    assert same_weights(given["model"], before)


@pytest.mark.parametrize("times", [1, 2])
def test_starts_again_from_the_first_part(comfy_host: Any, times: int, caplog: pytest.LogCaptureFixture) -> None:
    """The sampler fails in its last part; then all parts are made again, with the same numbers drawn."""
    from comfy.k_diffusion.sampling import sample_euler
    from comfy.samplers import KSAMPLER

    given = arguments(comfy_host, "sdxl", batch=1, sampler=ksampler("euler", s_churn=1.0))
    given["model"] = ranged(comfy_host, given["model"])
    expected = stock(comfy_host, **given)
    failures, parts = iter([True] * times), []

    def sampler(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = sample_euler(model, x, sigmas, s_churn=1.0, **kwargs)
        parts.append(sigmas)
        if sigmas[-1] == 0 and next(failures, False):
            raise out_of_memory()
        return result

    given["sampler"] = KSAMPLER(sampler)
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], expected)
    assert [bool(sigmas[-1] == 0) for sigmas in parts] == [False, True] * (times + 1)
    assert [text.rpartition(", ")[2] for text in steps(caplog)] == ["sampling starts again"] * times


def test_raises_the_hosts_error_when_nothing_is_left(comfy_host: Any, caplog: pytest.LogCaptureFixture) -> None:
    import comfy.model_management as management

    given = arguments(comfy_host, "sd35", batch=1)
    before = weights(given["model"])
    given["model"] = ranged(comfy_host, failing(given["model"], lambda _: True))
    with pytest.raises(management.OOM_EXCEPTION, match="injected"):
        node(comfy_host, "EriSample", **given)
    assert steps(caplog)[-1] == "attention in tiles of 64 queries"
    management.unload_all_models()
    assert same_weights(given["model"], before)
