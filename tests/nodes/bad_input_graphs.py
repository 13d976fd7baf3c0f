"""Graphs that give one node a bad input, for the table in `bad_inputs.py`. Import inside tests only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import new_executor

#: The widgets of every node as the canvas has them, where the defaults do not do.
WIDGETS: dict[str, dict[str, Any]] = {
    "EriSampleSpec": {"config": "family: flux\n"},
    "EriTrainerNoise": {"seed": 1},
    "EriTrainerSampler": {"sampler": "euler", "noise": "torch-cpu/nchw/float32"},
    "EriFluxUnpatchify": {"width": 64, "height": 64},
    "EriTripleTextEncode": {"prompt": "a red circle", "width": 64, "height": 64},
    "EriLoraAtStep": {"run": "bad_input", "step": 100},
    "EriLoraSteps": {"run": "bad_input"},
    "EriSample": {"cfg": 2.0},
}


@dataclass(frozen=True)
class Linked:
    """An input that comes over a link: its values, made when the host is there. The host checks only their type."""

    make: Callable[[], list[Any]]


def linked(*values: Any) -> Linked:
    """Values over one link, one after the other; a function is called when the host is there."""
    return Linked(lambda: [value() if callable(value) else value for value in values])


class Give:
    """Hands out what STORE holds under a key; one subclass per socket type, see `giver`."""

    STORE: ClassVar[dict[str, list[Any]]] = {}
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"key": ("STRING", {})}}

    def give(self, key: str) -> tuple[list[Any]]:
        return (self.STORE[key],)


class _AnyType(str):
    """A socket type that every other one fits."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


class Sink:
    """An output node that takes whatever comes."""

    RETURN_TYPES = ()
    FUNCTION = "take"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": (_AnyType("*"), {})}}

    def take(self, value: Any) -> dict[str, Any]:
        return {}


def giver(kind: str) -> type[Give]:
    """The node class that gives values of a socket type."""
    return type(f"Give_{kind}", (Give,), {"RETURN_TYPES": (kind,)})


@cache
def _family(family: str) -> tuple[Any, ...]:
    return small_models.inputs_for(family)


@cache
def clip(family: str) -> Any:
    return getattr(small_models, f"{family}_clip")()


def good(family: str) -> dict[str, Callable[[], Any]]:
    """Something right for every required socket of the pack's nodes and the stock samplers, by input name."""
    import comfy.samplers

    model, positive, negative, latent = _family(family)
    sigmas = torch.tensor([12.0, 4.0, 0.0] if family == "sdxl" else [1.0, 0.5, 0.0])
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    return {
        "model": lambda: model,
        "clip": lambda: clip(family),
        "positive": lambda: positive,
        "negative": lambda: negative,
        "conditioning": lambda: positive,
        "noise": Noise,
        "guider": lambda: guider,
        "sampler": lambda: comfy.samplers.ksampler("euler"),
        "sigmas": lambda: sigmas,
        "latent": lambda: {"samples": latent},
        "latent_image": lambda: {"samples": latent},
        "images": lambda: torch.zeros(1, 16, 16, 3),
    }


class Noise:
    """A NOISE of whatever `make` gives for the latent's shape."""

    seed = 1

    def __init__(self, make: Callable[..., torch.Tensor] = torch.randn) -> None:
        self._make = make

    def generate_noise(self, latent: Mapping[str, Any]) -> torch.Tensor:
        return self._make(latent["samples"].shape)


def prompt(
    comfy_host: Any,
    node: str,
    given: Mapping[str, Any],
    family: str,
    user: str = "",
    use: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A graph in which the node "bad" has `given` instead of good inputs, and everything else is right.

    user: a sampling node behind it ("user") that gets the NOISE or SAMPLER which it makes; use: what that one has
    instead of good inputs.
    """
    graph: dict[str, Any] = {}
    right = good(family)
    graph["bad"] = _node(comfy_host, graph, node, given, right)
    made = comfy_host.nodes[node].RETURN_TYPES
    if user:
        graph["user"] = _node(comfy_host, graph, user, {made[0].lower(): ["bad", 0], **(use or {})}, right)
    if made:
        graph["sink"] = {"class_type": "Sink", "inputs": {"value": ["user" if user else "bad", 0]}}
    return graph


def _node(
    comfy_host: Any, graph: dict[str, Any], name: str, given: Mapping[str, Any], right: Mapping[str, Any]
) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    groups = comfy_host.nodes[name].INPUT_TYPES()
    for group in ("required", "optional"):
        for key, described in groups.get(group, {}).items():
            value = given.get(key, WIDGETS.get(name, {}).get(key))
            if value is None and (group == "required" or key == "negative"):  # the good cfg is not 1
                value = linked(right[key]) if key in right else _default(*described)
            if isinstance(value, Linked):
                inputs[key] = [_give(comfy_host, graph, f"{name}.{key}", described[0], value), 0]
            elif value is not None:
                inputs[key] = value
    return {"class_type": name, "inputs": inputs}


def _default(kind: Any, options: Mapping[str, Any] | None = None) -> Any:
    """What the canvas puts into a widget."""
    choices = kind if isinstance(kind, list) else (options or {}).get("options", [None])
    return (options or {}).get("default", choices[0])


def _give(comfy_host: Any, graph: dict[str, Any], key: str, kind: Any, value: Linked) -> str:
    """Add the node that gives `value`; returns its id."""
    kind = kind if isinstance(kind, str) else "COMBO"
    comfy_host.nodes[f"Give_{kind}"] = giver(kind)
    Give.STORE[key] = value.make()
    graph[key] = {"class_type": f"Give_{kind}", "inputs": {"key": key}}
    return key


def refusal(graph: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Where the host refuses a graph: ("before", its node errors) or ("while", its error message); ("", …) nowhere."""
    import execution

    valid, _, outputs, node_errors = asyncio.run(execution.validate_prompt("test", graph, None))
    if not valid:
        return "before", node_errors
    executor = new_executor()
    executor.execute(graph, "test", {}, outputs)
    errors = [data for event, data in executor.status_messages if event == "execution_error"]
    return ("while", errors[0]) if errors else ("", {})
