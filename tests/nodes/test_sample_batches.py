"""EriSample with batch_size > 1: what is sampled together comes out as alone, and what may not be together is not.

`close` allows for what changes with the number of rows in a matrix product; the host's own batch differs from its
single runs by the same, since the first test finds ours bit-equal to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.batch_helpers import (
    FAMILIES,
    STEPS,
    Calls,
    alone,
    as_one_batch,
    region,
    sampled,
    table,
)
from comfyui_eridiffusion.tests.nodes.host_calls import turn_previews_on
from comfyui_eridiffusion.tests.nodes.memory_helpers import with_lora
from comfyui_eridiffusion.tests.nodes.test_oom_backoff import close, failing, ksampler, steps
from comfyui_eridiffusion.tests.nodes.test_sample_node import SIGMAS, guide, make_sampler


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_batch_is_the_hosts_own_and_its_rows_come_out_as_alone(comfy_host: Any, family: str, cfg: float) -> None:
    """Bit for bit what the host makes of the same batch, from each row's own noise; from a run of a row alone it
    differs as much as the host's batch does: by the order of summation."""
    rows = table(comfy_host, family, 3, cfg=cfg)
    calls, single = Calls(rows[0]["model"]), Calls(rows[0]["model"])
    together = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 8)
    assert calls.images == [3] * STEPS
    assert torch.equal(torch.cat([made["samples"] for made in together]), as_one_batch(comfy_host, rows))
    for made, expected in zip(
        together, alone(comfy_host, [row | {"model": single.model} for row in rows]), strict=True
    ):
        close(made["samples"], expected)
    assert torch.equal(calls.first[0], torch.cat([single.first[row] for row in range(3)]))


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1]), (5, [5]), (64, [5])])
def test_at_most_so_many_images_at_once(comfy_host: Any, limit: int, sizes: list[int]) -> None:
    rows = table(comfy_host, "sd35", 5)
    calls = Calls(rows[0]["model"])
    made = sampled(comfy_host, [row | {"model": calls.model} for row in rows], limit)
    assert calls.images == [size for size in sizes for _ in range(STEPS)]
    for row, expected in zip(made, alone(comfy_host, rows), strict=True):
        close(row["samples"], expected)
        if limit == 1:
            assert torch.equal(row["samples"], expected)


def test_as_many_images_as_comfyui_has_room_for(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own figures for three images, both passes of guidance in one batch; asked once for all parts of a list."""
    import comfy.model_management as management

    management.unload_all_models()
    rows = table(comfy_host, "sd35", 5)
    calls = Calls(rows[0]["model"])
    weights = calls.model.model_size() - calls.model.loaded_size()
    needed = calls.model.memory_required([2 * 3, *rows[0]["latent"]["samples"].shape[1:]])
    asked: list[Any] = []

    def free(device: Any, *given: Any, **named: Any) -> float:
        asked.append(device)
        return needed + weights + management.minimum_inference_memory() if len(asked) == 1 else 1e12

    monkeypatch.setattr(management, "get_free_memory", free)
    made = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 0)
    assert calls.images == [size for size in (3, 2) for _ in range(STEPS)]
    for row, expected in zip(made, alone(comfy_host, rows), strict=True):
        close(row["samples"], expected)
    del calls.images[:]
    sampled(comfy_host, [row | {"model": calls.model} for row in rows[:4]], 0)
    assert calls.images == [size for size in (3, 1) for _ in range(STEPS)]
    unheard = Calls(rows[0]["model"])
    monkeypatch.setattr(management, "get_free_memory", lambda *given, **named: 0.0)
    sampled(comfy_host, [row | {"model": unheard.model} for row in rows[:2]], 0)
    assert set(unheard.images) == {1}


def test_sizes_are_put_together_and_the_order_stays(comfy_host: Any) -> None:
    """Landscape, portrait, landscape, square, portrait, landscape: two batches at a time, of one shape each."""
    shapes = [(8, 12), (12, 8), (8, 12), (8, 8), (12, 8), (8, 12)]
    rows = table(comfy_host, "flux", 6, latent=lambda row: {"samples": torch.zeros(1, 16, *shapes[row])})
    calls = Calls(rows[0]["model"])
    made = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 2)
    assert calls.images == [2] * STEPS + [2] * STEPS + [1] * STEPS + [1] * STEPS
    assert [tuple(first.shape[2:]) for first in calls.first.values()] == [(8, 12), (12, 8), (8, 8), (8, 12)]
    assert [tuple(row["samples"].shape[2:]) for row in made] == shapes
    for row, expected in zip(made, alone(comfy_host, rows), strict=True):
        close(row["samples"], expected)


def test_rows_of_several_images_with_masks_and_indices(comfy_host: Any) -> None:
    """Image to image: rows of 2, 1 and 3 images, of one or several masks; a batch of four, then the three."""
    generator = torch.Generator().manual_seed(1)
    images, masks = [2, 1, 3], [1, 1, 3]

    def latent(row: int) -> dict[str, Any]:
        mask = (torch.rand(masks[row], 8, 12, generator=generator) > 0.5).float()
        samples = torch.randn(images[row], 16, 8, 12, generator=generator)
        return {"samples": samples, "noise_mask": mask, "batch_index": list(range(row, row + images[row]))}

    rows = table(comfy_host, "flux", 3, latent=latent, sigmas=SIGMAS[1:])
    before = [{name: value.clone() for name, value in row["latent"].items() if name != "batch_index"} for row in rows]
    calls = Calls(rows[0]["model"])
    made = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 4)
    assert calls.images == [3] * (STEPS - 1) + [3] * (STEPS - 1)
    for row, given, old, expected in zip(made, rows, before, alone(comfy_host, rows), strict=True):
        close(row["samples"], expected)
        assert row["batch_index"] == given["latent"]["batch_index"]
        assert torch.equal(row["noise_mask"], old["noise_mask"])
        assert torch.equal(given["latent"]["samples"], old["samples"])


def test_a_batch_with_masks_is_the_hosts_own(comfy_host: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    rows = table(
        comfy_host,
        "sdxl",
        2,
        latent=lambda row: {
            "samples": torch.randn(1, 4, 8, 12, generator=generator),
            "noise_mask": torch.rand(1, 1, 16, 24, generator=generator),  # the host brings it to the latent's size
        },
    )
    made = sampled(comfy_host, rows, 2)
    assert torch.equal(torch.cat([row["samples"] for row in made]), as_one_batch(comfy_host, rows))


def test_conditionings_of_several_entries(comfy_host: Any) -> None:
    rows = [row | region(number) for number, row in enumerate(table(comfy_host, "sdxl", 2))]
    calls = Calls(rows[0]["model"])
    made = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 2)
    assert set(calls.images) == {2}
    for row, expected in zip(made, alone(comfy_host, rows), strict=True):
        close(row["samples"], expected)


def test_guidance_that_looks_at_a_whole_image_looks_at_each(comfy_host: Any) -> None:
    model = guide(comfy_host, h.inputs_for("sd35")[0], rescale=0.7, threshold_percentile=0.9)
    rows = table(comfy_host, "sd35", 2, model=model, cfg=6.0)
    calls = Calls(model)
    made = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 2)
    assert set(calls.images) == {2}
    for row, expected in zip(made, alone(comfy_host, rows), strict=True):
        close(row["samples"], expected)


def test_with_a_lora_for_a_part_of_the_steps(comfy_host: Any) -> None:
    """The sampler's sigmas are split there, and the parts sampled one after the other."""
    base = h.inputs_for("flux")[0]
    patches = {key: entries[0][1] for key, entries in with_lora(base, seed=3).patches.items()}
    placed = comfy_host.pack("host.lora.placing").Placed({}, {}, patches, {}, set(), 1.0)
    model = comfy_host.pack("host.lora.active_range").RangedLora(placed, 0.0, 0.5).on(base)
    rows = table(comfy_host, "flux", 2, model=model, sampler=h.flow_euler(comfy_host))
    calls = Calls(model)
    made = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 2)
    assert set(calls.images) == {2}
    without = alone(comfy_host, [row | {"model": base} for row in rows])
    for row, expected, other in zip(made, alone(comfy_host, rows), without, strict=True):
        close(row["samples"], expected)
        assert float((expected - other).abs().max()) > 1e-3


# --- samplers --------------------------------------------------------------------------------------------------------


def draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a random number is an error."""

    def drawn(*_: Any, **__: Any) -> Tensor:
        raise AssertionError("a random number was drawn")

    for name in ("randn", "randn_like", "rand", "rand_like", "normal"):
        monkeypatch.setattr(torch, name, drawn)
    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(Tensor, name, drawn)


QUIET = (
    "euler", "euler_cfg_pp", "heun", "dpm_2", "lms", "dpmpp_2m", "dpmpp_2m_cfg_pp", "ipndm", "ipndm_v", "deis",
    "gradient_estimation", "gradient_estimation_cfg_pp", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
OURS = ("EriDDIMSampler", "EriFlowEulerSampler")


def sampler_named(comfy_host: Any, name: str) -> Any:
    import comfy.samplers

    return make_sampler(comfy_host, name) if name in OURS else comfy.samplers.sampler_object(name)


def test_no_other_sampler_of_the_host_shares_a_batch(comfy_host: Any) -> None:
    import comfy.samplers

    def shares(name: str) -> bool:
        rows = table(comfy_host, "sdxl", 2, sampler=sampler_named(comfy_host, name))
        return comfy_host.pack("host.sampling.sample")._keys(rows, 2) != [None, None]

    assert {name for name in comfy.samplers.KSampler.SAMPLERS if shares(name)} == {*QUIET, "ddim"}


@pytest.mark.parametrize("family", ["sdxl", "sd35"])
@pytest.mark.parametrize("name", [*QUIET, *OURS])
def test_a_quiet_sampler_draws_nothing_and_takes_images_one_by_one(comfy_host: Any, name: str, family: str) -> None:
    """On eight steps, so that one with a history uses all of it."""
    levels = h.schedule(comfy_host, family, 8)
    rows = table(comfy_host, family, 2, sampler=sampler_named(comfy_host, name), sigmas=levels, cfg=1.5)
    for row in rows:
        row["noise"] = h.FixedNoise(row["noise"].generate_noise(row["latent"]))
    calls = Calls(rows[0]["model"])
    with pytest.MonkeyPatch.context() as patch:
        draws_nothing(patch)
        together = sampled(comfy_host, [row | {"model": calls.model} for row in rows], 2)
    assert set(calls.images) == {2}
    for made, expected in zip(together, alone(comfy_host, rows), strict=True):
        close(made["samples"].detach(), expected.detach())  # uni_pc keeps a graph


# --- errors, memory, progress ----------------------------------------------------------------------------------------


def test_what_is_not_in_a_batch_is_told(comfy_host: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = table(comfy_host, "sdxl", 3, sampler=lambda row: ksampler("euler_ancestral" if row else "euler"))
    sampled(comfy_host, rows, 4)
    assert [text for text in caplog.messages if "batch" in text] == [
        "EriSample: batch_size 4: entries 2, 3 of 3 are sampled alone: the sampler draws noise, or is not known not to."
    ]


def test_an_error_names_its_entry(comfy_host: Any) -> None:
    rows = table(comfy_host, "flux", 3)
    rows[1]["noise"] = h.FixedNoise(torch.zeros(1, 4, 8, 12))
    rows[0]["noise"] = rows[2]["noise"] = h.FixedNoise(torch.zeros(1, 16, 8, 12))
    with pytest.raises(ValueError, match=r"entry 2 of 3: noise has the shape"):
        sampled(comfy_host, rows, 8)
    zero_snr = h.schedule(comfy_host, "sdxl", 2, spacing="trailing", zero_terminal_snr=True)
    rows = table(comfy_host, "sdxl", 3, cfg=lambda row: 1.0 + (row == 1), sampler=h.ddim(comfy_host), sigmas=zero_snr)
    with pytest.raises(ValueError, match=r"entries 1, 3 of 3: Zero terminal SNR"):
        sampled(comfy_host, rows, 8)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_that_does_not_fit_is_halved(comfy_host: Any, family: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = table(comfy_host, family, 4)
    expected = alone(comfy_host, rows)
    asked: list[int] = []
    model = failing(rows[0]["model"], lambda params: len(params["input"]) > 3, asked)
    for made, one in zip(sampled(comfy_host, [row | {"model": model} for row in rows], 4), expected, strict=True):
        close(made["samples"], one)
    assert steps(caplog) == [
        "caches freed",
        "the model runs on 4 of 8 latents at a time",
        "the model runs on 2 of 8 latents at a time",
    ]
    assert set(asked) == {2}
    assert sum(asked) == 8 * STEPS


def test_progress_counts_the_rows_of_a_batch(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = turn_previews_on(monkeypatch)
    sampled(comfy_host, table(comfy_host, "flux", 3), 2)
    assert seen == [(2, 9), (4, 9), (6, 9), (7, 9), (8, 9), (9, 9)]


def test_interrupt_stops_within_a_batch(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as management

    turn_previews_on(monkeypatch, lambda value: management.interrupt_current_processing() if value == 2 else None)
    rows = table(comfy_host, "sd35", 4, sampler=h.flow_euler(comfy_host))
    calls = Calls(rows[0]["model"])
    with pytest.raises(management.InterruptProcessingException):
        sampled(comfy_host, [row | {"model": calls.model} for row in rows], 2)
    assert calls.images == [2]
