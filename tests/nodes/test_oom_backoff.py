"""EriSample on a device without memory: the host's own exception, injected through the host's own hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.memory_helpers import FAMILIES, same_weights, weights, with_lora
from comfyui_eridiffusion.tests.nodes.test_sample_node import SIGMAS, VP_SIGMAS, node, stock

BATCH = 4


def ksampler(name: str, **options: Any) -> Any:
    import comfy.samplers

    return comfy.samplers.ksampler(name, options)


def arguments(comfy_host: Any, family: str, batch: int = BATCH, **changes: Any) -> dict[str, Any]:
    """Inputs with one prompt per picture, so that a mixed-up row shows."""
    model, positive, negative, latent = small_models.inputs_for(family)
    width, pooled = positive[0][0].shape[-1], positive[0][1]["pooled_output"].shape[-1]
    generator = torch.Generator().manual_seed(11)
    rows = [
        [
            [
                torch.randn(batch, 5, width, generator=generator),
                {**entry[0][1], "pooled_output": torch.randn(batch, pooled, generator=generator)},
            ]
        ]
        for entry in (positive, negative)
    ]
    given = {
        "cfg": 3.0,
        "model": model,
        "positive": rows[0],
        "negative": rows[1],
        "noise": node(comfy_host, "RandomNoise", noise_seed=5),
        "sampler": ksampler("euler"),
        "sigmas": (VP_SIGMAS if family == "sdxl" else SIGMAS).clone(),  # ComfyUI's uni_pc changes them
        "latent": {"samples": latent.repeat(batch, 1, 1, 1)},
    }
    return {**given, **changes}


def out_of_memory() -> Exception:
    import comfy.model_management as management

    error: Exception = management.OOM_EXCEPTION("no memory left (injected)")
    return error


def failing(model: Any, fails: Callable[[dict[str, Any]], bool], rows: list[int] | None = None) -> Any:
    """A clone whose calls raise the host's out-of-memory error where `fails(params)` says so."""

    def wrapper(apply_model: Any, params: dict[str, Any]) -> Tensor:
        if fails(params):
            raise out_of_memory()
        if rows is not None:
            rows.append(len(params["input"]))
        out: Tensor = apply_model(params["input"], params["timestep"], **params["c"])
        return out

    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone


def steps(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name.endswith("host.notice")]
    return [text.removeprefix("EriSample: Out of memory: ").removesuffix(".") for text in found]


def close(result: Tensor, expected: Tensor) -> None:
    """Equal but for the order of summation in matrix products of another number of rows."""
    assert float((result - expected).abs().max()) <= 2e-5 * float(expected.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("most", [4, 3, 1])
def test_halves_the_batch(comfy_host: Any, family: str, most: int, caplog: pytest.LogCaptureFixture) -> None:
    """Four pictures at CFG are eight rows: halved to 4, 2 and 1 until they fit; every picture has its own prompt."""
    given = arguments(comfy_host, family)
    expected = stock(comfy_host, **given)
    rows: list[int] = []
    given["model"] = failing(given["model"], lambda params: len(params["input"]) > most, rows)
    close(node(comfy_host, "EriSample", **given)["samples"], expected)
    fitting = next(size for size in (4, 2, 1) if size <= most)
    assert set(rows) == {fitting}
    assert sum(rows) == 2 * BATCH * (len(given["sigmas"]) - 1)  # no row twice
    halved = [f"the model runs on {size} of 8 latents at a time" for size in (4, 2, 1) if size >= fitting]
    assert steps(caplog) == ["caches freed", *halved]


def test_frees_caches_first(comfy_host: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An error that does not come again costs nothing but the one call."""
    given = arguments(comfy_host, "sd35")
    expected = stock(comfy_host, **given)
    failures = iter([True])
    given["model"] = failing(given["model"], lambda _: next(failures, False))
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], expected)
    assert steps(caplog) == ["caches freed"]


SAMPLERS = ["euler_ancestral", "dpmpp_2m_sde", "dpmpp_sde", "lcm", "dpm_adaptive", "uni_pc", "res_multistep_ancestral"]


@pytest.mark.parametrize("sampler", [*SAMPLERS, "churn", "ddim"])
def test_random_and_adaptive_samplers_are_the_same_too(comfy_host: Any, sampler: str) -> None:
    """The sampler sees one call on the whole batch: its noise (also from the global generator), its history and its
    step sizes, which hang on all pictures together, stay those of the unhindered run."""
    import comfy.samplers

    if sampler == "churn":
        made = ksampler("euler", s_churn=1.0)  # draws from the global generator
    elif sampler == "ddim":
        options = {"eta": 1.0, "clip_sample": False, "clip_range": 1.0, "use_clipped_model_output": False}
        made = node(comfy_host, "EriDDIMSampler", **options)
    else:
        made = comfy.samplers.sampler_object(sampler)
    given = arguments(comfy_host, "sdxl", batch=2, sampler=made, cfg=1.5)
    expected = stock(comfy_host, **{**given, "sigmas": given["sigmas"].clone()}).detach()  # uni_pc keeps a graph
    before = given["sigmas"].clone()
    given["model"] = failing(given["model"], lambda params: len(params["input"]) > 1)
    result = node(comfy_host, "EriSample", **given)["samples"].detach()
    assert float((result - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
    assert torch.equal(given["sigmas"], before)


@pytest.mark.parametrize("masks", [1, 3])
def test_masks_and_indices_of_a_halved_batch(comfy_host: Any, masks: int) -> None:
    """An odd batch, image to image, with one mask for all or one each, and pictures 4, 0 and 2 of a larger batch."""
    generator = torch.Generator().manual_seed(1)
    given = arguments(comfy_host, "flux", batch=3, sigmas=SIGMAS[1:])
    samples = torch.randn(3, 16, 8, 8, generator=generator)
    mask = (torch.rand(masks, 8, 8, generator=generator) > 0.5).float()
    given["latent"] = {"samples": samples, "noise_mask": mask, "batch_index": [4, 0, 2]}
    expected = stock(comfy_host, **given)
    given["model"] = failing(given["model"], lambda params: len(params["input"]) > 1)
    result = node(comfy_host, "EriSample", **given)
    close(result["samples"], expected)
    assert result["batch_index"] == [4, 0, 2]
    assert torch.equal(result["noise_mask"], mask)


@pytest.mark.parametrize("family", FAMILIES)
def test_then_offloads(comfy_host: Any, family: str, caplog: pytest.LogCaptureFixture) -> None:
    """With a LoRA on every matrix: streamed weights get their patches layer by layer, to the same numbers."""
    import comfy.model_management as management

    given = arguments(comfy_host, family, batch=1, cfg=1.0)
    other, given["model"] = small_models.sd35_model(seed=9), with_lora(given["model"], seed=3)
    before = weights(given["model"])
    expected = stock(comfy_host, **given)
    management.load_models_gpu([other])
    model = given["model"].model
    given["model"] = failing(given["model"], lambda _: not model.model_lowvram)
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], expected)
    assert steps(caplog) == [
        "caches freed",
        "other models unloaded, this model's weights streamed layer by layer",
    ]
    assert other.loaded_size() == 0
    assert model.lowvram_patch_counter > 0
    management.unload_all_models()
    assert same_weights(given["model"], before)


@pytest.mark.parametrize("family", FAMILIES)
def test_then_tiles_attention(comfy_host: Any, family: str, caplog: pytest.LogCaptureFixture) -> None:
    """Only attention over few queries fits; an override that is already there goes on being asked."""
    size, fits = (16, 64) if family == "sd35" else (40, 200)  # the small sd35 knows 8 x 8 tokens, and 5 of text
    asked: list[int] = []

    def tight(function: Any, q: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        queries = q.shape[2] if kwargs.get("skip_reshape") else q.shape[1]
        if queries > fits:
            raise out_of_memory()
        asked.append(queries)
        out: Tensor = function(q, *args, **kwargs)
        return out

    given = arguments(comfy_host, family, batch=1, cfg=1.0)
    empty = given["latent"]["samples"]
    given["latent"] = {"samples": empty.new_zeros(1, empty.shape[1], size, size)}
    expected = stock(comfy_host, **given)
    given["model"] = given["model"].clone()
    given["model"].model_options["transformer_options"]["optimized_attention_override"] = tight
    close(node(comfy_host, "EriSample", **given)["samples"], expected)
    tile = 64 if family == "sd35" else 128
    assert max(asked) == tile
    assert steps(caplog)[-1] == f"attention in tiles of {tile} queries"


def test_raises_the_hosts_error_when_nothing_is_left(comfy_host: Any, caplog: pytest.LogCaptureFixture) -> None:
    import comfy.model_management as management

    given = arguments(comfy_host, "sd35", batch=1)
    given["model"] = failing(given["model"], lambda _: True)
    before = weights(given["model"])
    with pytest.raises(management.OOM_EXCEPTION, match="injected"):
        node(comfy_host, "EriSample", **given)
    assert steps(caplog) == [
        "caches freed",
        "the model runs on 1 of 2 latents at a time",
        "other models unloaded, this model's weights streamed layer by layer",
        *(f"attention in tiles of {size} queries" for size in (1024, 512, 256, 128, 64)),
    ]
    management.unload_all_models()
    assert same_weights(given["model"], before)


def test_other_errors_pass_at_once(comfy_host: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: dict[str, Any]) -> bool:
        raise RuntimeError("not about memory")

    given = arguments(comfy_host, "sd35", batch=1)
    given["model"] = failing(given["model"], broken)
    with pytest.raises(RuntimeError, match="not about memory"):
        node(comfy_host, "EriSample", **given)
    assert steps(caplog) == []


# --- outside of the model's calls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
def test_starts_again_when_the_model_does_not_fit(
    comfy_host: Any, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The error comes while the host loads the model; the sampler draws from the global generator."""
    from comfy.patcher_extension import CallbacksMP

    given = arguments(comfy_host, "sdxl", batch=2, sampler=ksampler("euler", s_churn=1.0))
    expected = stock(comfy_host, **given)
    failures = iter([True] * times)

    def on_load(*_: Any) -> None:
        if next(failures, False):
            raise out_of_memory()

    import comfy.model_management as management

    management.unload_all_models()
    given["model"] = given["model"].clone()
    given["model"].add_callback(CallbacksMP.ON_LOAD, on_load)
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], expected)
    assert len(steps(caplog)) == times
    assert next(failures, None) is None


def test_starts_again_after_an_error_of_the_sampler(comfy_host: Any, caplog: pytest.LogCaptureFixture) -> None:
    import comfy.model_management as management
    import comfy.samplers
    from comfy.k_diffusion.sampling import sample_euler

    failures = iter([True, True])

    def sampler(*args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = sample_euler(*args, **kwargs)
        if next(failures, False):
            raise out_of_memory()
        return result

    given = arguments(comfy_host, "flux", batch=1)
    expected = stock(comfy_host, **given)
    given["sampler"] = comfy.samplers.KSAMPLER(sampler)
    assert torch.equal(node(comfy_host, "EriSample", **given)["samples"], expected)
    assert [text.rpartition(", ")[2] for text in steps(caplog)] == ["sampling starts again"] * 2
    failures = iter([True, True, True])
    with pytest.raises(management.OOM_EXCEPTION, match="injected"):
        node(comfy_host, "EriSample", **given)
