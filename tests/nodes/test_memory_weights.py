"""Base weights after success, exception and interrupt, and after many runs, through the host's own executor."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import host_calls
from comfyui_eridiffusion.tests.nodes.memory_helpers import FAMILIES, same_weights, weights, with_lora
from comfyui_eridiffusion.tests.nodes.test_oom_backoff import arguments, ksampler

GIVEN: dict[str, Any] = {}


class Anything(str):
    """A socket type that fits every other; older hosts compare the types of stock nodes with `!=`."""

    __slots__ = ()

    def __ne__(self, _other: object) -> bool:
        return False


class Given:
    """Hands objects of the test into a graph, in the host's older node form."""

    RETURN_TYPES = (Anything("*"),)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": ("STRING", {})}}

    @classmethod
    def IS_CHANGED(cls, name: str) -> int:
        return id(GIVEN[name])

    def give(self, name: str) -> tuple[Any]:
        return (GIVEN[name],)


class Keep:
    """The end of a graph: keeps what comes in."""

    RETURN_TYPES = ()
    FUNCTION = "keep"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"latent": ("LATENT",)}}

    def keep(self, latent: dict[str, Any]) -> dict[str, Any]:
        GIVEN["result"] = latent["samples"]
        return {}


@pytest.fixture
def executor(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    import comfy.model_management as management
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "Given", Given)
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "Keep", Keep)
    yield host_calls.new_executor()
    GIVEN.clear()
    management.unload_all_models()


def graph(mode: str, sampler_node: str, cfg: float) -> dict[str, Any]:
    """MODEL → EriMemoryPolicy → EriSample, or CFGGuider and the stock SamplerCustomAdvanced."""
    names = ("model", "positive", "negative", "noise", "sampler", "sigmas", "latent")
    made: dict[str, Any] = {name: {"class_type": "Given", "inputs": {"name": name}} for name in names}
    sizes = {"slice_size": 16, "tile_size": 64}
    made["policy"] = {"class_type": "EriMemoryPolicy", "inputs": {"mode": mode, **sizes, "model": ["model", 0]}}
    conds = {"model": ["policy", 0], "positive": ["positive", 0], "negative": ["negative", 0], "cfg": cfg}
    rest = {name: [name, 0] for name in ("noise", "sampler", "sigmas")}
    if sampler_node == "EriSample":
        made["sample"] = {"class_type": "EriSample", "inputs": {**conds, **rest, "latent": ["latent", 0]}}
    else:
        made["guider"] = {"class_type": "CFGGuider", "inputs": conds}
        inputs = {**rest, "guider": ["guider", 0], "latent_image": ["latent", 0]}
        made["sample"] = {"class_type": "SamplerCustomAdvanced", "inputs": inputs}
    made["keep"] = {"class_type": "Keep", "inputs": {"latent": ["sample", 0]}}
    return made


def run(executor: Any, prompt: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Queue one prompt as the host does; returns the events it sent."""
    GIVEN.update(given)
    return [event for event, _ in host_calls.run(prompt, executor).status_messages]


def sampler_that(ending: str) -> Any:
    """A sampler that after its first step goes on, fails, or finds that a person pressed the button."""
    import comfy.model_management as management
    import comfy.samplers
    from comfy.k_diffusion.sampling import sample_euler

    def sampler(model: Any, x: Tensor, sigmas: Tensor, **kwargs: Any) -> Tensor:
        first: Tensor = sample_euler(model, x, sigmas[:2], **kwargs)
        if ending == "exception":
            raise RuntimeError("broken sampler")
        if ending == "interrupt":
            management.interrupt_current_processing()
        result: Tensor = sample_euler(model, first, sigmas[1:], **kwargs)
        return result

    return comfy.samplers.KSAMPLER(sampler)


EVENTS = {"success": "execution_success", "exception": "execution_error", "interrupt": "execution_interrupted"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ending", EVENTS)
@pytest.mark.parametrize("mode", ["auto", "offload", "sequential"])
def test_base_weights_are_bit_equal_afterwards(
    comfy_host: Any, executor: Any, family: str, ending: str, mode: str
) -> None:
    import comfy.model_management as management

    given = arguments(comfy_host, family, batch=1)
    given["sampler"] = sampler_that(ending)
    before = weights(given["model"])
    given["model"] = with_lora(given["model"], seed=3)
    for sampler_node in ("EriSample", "SamplerCustomAdvanced"):
        events = run(executor, graph(mode, sampler_node, given["cfg"]), given)
        assert EVENTS[ending] in events
        management.unload_all_models()
        assert same_weights(given["model"], before), sampler_node


def resident_bytes() -> int:
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)


def living_tensors() -> int:
    gc.collect()
    return sum(1 for one in gc.get_objects() if type(one) in (Tensor, torch.nn.Parameter))


@pytest.mark.parametrize("family", FAMILIES)
def test_three_loras_in_turn_twenty_times(comfy_host: Any, executor: Any, family: str) -> None:
    """Each LoRA made anew for each run, as when a person changes the training step; outcome, base weights, number of
    tensors and memory stay."""
    import comfy.model_management as management

    given = arguments(comfy_host, family, batch=1, cfg=1.0, sampler=ksampler("euler"))
    given["sigmas"] = given["sigmas"][:3]
    base = given["model"]
    before = weights(base)
    first: dict[int, Tensor] = {}
    tensors: list[int] = []
    memory: list[int] = []
    for number in range(20):
        seed = number % 3
        given["model"] = with_lora(base, seed)
        run(executor, graph("auto", "EriSample", 1.0), given)
        result = GIVEN.pop("result")
        assert torch.equal(result, first.setdefault(seed, result)), f"run {number} drifted"
        if seed == 0:  # the same LoRA each time, so the same number of tensors
            del result
            tensors.append(living_tensors())
            memory.append(resident_bytes())
    assert not any(torch.equal(first[0], first[seed]) for seed in (1, 2))
    assert len(set(tensors[1:])) == 1, tensors
    assert memory[-1] - memory[1] < base.model_size() / 2, memory  # a leak of one patched copy a run is 15 of them
    management.unload_all_models()
    assert same_weights(base, before)
