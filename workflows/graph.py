"""A small typed graph: readable node ids, named outputs, titles; written out as the host's `/prompt` JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

#: What an input may hold: a literal the host's JSON can carry, or a link to another node's output.
Literal = str | int | float | bool

#: Output names of every node a builder uses, in slot order. Stock loaders are here too, so that links read by name.
OUTPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "EriSampleSpec": (
        "prompt", "negative", "width", "height", "seed", "steps", "cfg", "guidance", "name", "spec",
        "report", "prompt_2", "prompt_3",
    ),
    "EriTripleTextEncode": ("conditioning",),
    "EriFluxSchedule": ("sigmas",),
    "EriFlowSchedule": ("sigmas",),
    "EriDDIMSchedule": ("sigmas",),
    "EriFlowEulerSampler": ("sampler",),
    "EriDDIMSampler": ("sampler",),
    "EriTrainerSampler": ("sampler", "sigmas"),
    "EriControlImages": ("image", "latent"),
    "EriTrainerModel": ("model",),
    "EriTrainerNoise": ("noise",),
    "EriLoraAtStep": ("model", "clip", "found_step", "report", "details"),
    "EriSample": ("latent",),
    "EriSaveSamples": (),
    "CheckpointLoaderSimple": ("model", "clip", "vae"),
    "UNETLoader": ("model",),
    "CLIPLoader": ("clip",),
    "DualCLIPLoader": ("clip",),
    "TripleCLIPLoader": ("clip",),
    "VAELoader": ("vae",),
    "VAEDecode": ("image",),
    "EmptyLatentImage": ("latent",),
    "EmptySD3LatentImage": ("latent",),
    "FluxGuidance": ("conditioning",),
    "FluxDisableGuidance": ("conditioning",),
    "ConditioningZeroOut": ("conditioning",),
    "CLIPTextEncode": ("conditioning",),
    "CLIPTextEncodeFlux": ("conditioning",),
    "CLIPTextEncodeSD3": ("conditioning",),
    "PrimitiveStringMultiline": ("prompt",),
    "LoraLoader": ("model", "clip"),
    "T5TokenizerOptions": ("clip",),
    "ModelSamplingAuraFlow": ("model",),
    "ModelSamplingDiscrete": ("model",),
    "ModelSamplingFlux": ("model",),
    "ModelSamplingSD3": ("model",),
    "SkipLayerGuidanceSD3": ("model",),
    "KSampler": ("latent",),
    "SaveImage": (),
    "SaveLatent": (),
    "LoadImage": ("image", "mask"),
    "LoadLatent": ("latent",),
    "VAEEncode": ("latent",),
    "ImageScale": ("image",),
    "ReferenceLatent": ("conditioning",),
    "EriGuidance": ("model",),
    "EriFluxUnpatchify": ("latent",),
    "EriMemoryPolicy": ("model", "clip", "vae"),
    "EriContactSheet": ("image",),
    "EriLoraSteps": ("step", "label", "report", "strength", "strength_label"),
}  # fmt: skip

#: No node's id: a JSON object with one of these is taken for what holds a graph (by comfy-lint 0.1.0 `prompt` and
#: `nodes`; the others are fields of ComfyUI's request body and of a saved canvas).
WRAPPERS: Final = frozenset(
    ("prompt", "nodes", "links", "groups", "workflow", "output", "extra", "extra_data", "config", "version", "state")
)


class Link(NamedTuple):
    """One output of one node; `slot` counts from 0."""

    node: str
    slot: int


class Node(NamedTuple):
    """A node of a graph. `inputs` keeps the order of the host's schema; `title` is what a person reads on it."""

    id: str
    class_type: str
    title: str
    inputs: Mapping[str, Literal | Link]

    def out(self, name: str) -> Link:
        """The link to the output called `name` (see OUTPUTS); KeyError where the class has no such output."""
        try:
            return Link(self.id, OUTPUTS[self.class_type].index(name))
        except ValueError:
            raise KeyError(f"{self.class_type} has no output {name!r}") from None


@dataclass
class Graph:
    """Nodes by id in the order they were added; an input may only link to a node that is already there.

    bands: which band of the canvas a node stands in (0 = the first chain's), stages: its group there, both only where
    they differ from what `stages.py` says. repeated: every band is one sample's, most of them alike.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    bands: dict[str, int] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    repeated: bool = False

    def add(self, node_id: str, class_type: str, title: str, /, **inputs: Literal | Link) -> Node:
        """Add a node and return it; raises KeyError when the id is not free, or an input links to an unknown node."""
        if node_id in self.nodes:
            raise KeyError(f"node id {node_id!r} is taken")
        if node_id in WRAPPERS:
            raise KeyError(f"node id {node_id!r} is what tools take for a wrapper of a graph")
        for name, value in inputs.items():
            if isinstance(value, Link) and value.node not in self.nodes:
                raise KeyError(f"{node_id}.{name} links to {value.node!r}, which is not in the graph")
        node = self.nodes[node_id] = Node(node_id, class_type, title, inputs)
        return node

    def api(self) -> dict[str, dict[str, Any]]:
        """The graph as the host's `/prompt` JSON: id -> class_type, inputs (links as [id, slot]), _meta.title."""
        return {
            node.id: {
                "class_type": node.class_type,
                "inputs": {
                    name: [value.node, value.slot] if isinstance(value, Link) else value
                    for name, value in node.inputs.items()
                },
                "_meta": {"title": node.title},
            }
            for node in self.nodes.values()
        }
