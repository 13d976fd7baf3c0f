"""What the families' builders share: a chain of nodes from one sample-spec node to one saver."""

from __future__ import annotations

from dataclasses import dataclass

from ..families.profile import Profile
from ..spec.model import SampleSpec
from .graph import Graph, Link, Literal, Node


@dataclass(frozen=True)
class Chain:
    """One run of nodes through a graph, for the items of `spec` (which share LoRA strength and sampler).

    source: the EriSampleSpec node. model, clip: links after the LoRA. suffix: appended to node ids ("" for the first
    chain, "_2" ...). label: appended to titles. band: the chain's number, its place on the canvas.
    """

    graph: Graph
    spec: SampleSpec
    profile: Profile
    source: Node
    model: Link
    clip: Link
    suffix: str = ""
    label: str = ""
    band: int = 0

    def add(self, node_id: str, class_type: str, title: str, /, **inputs: Literal | Link) -> Node:
        """Add a node with this chain's suffix, label and band."""
        node = self.graph.add(node_id + self.suffix, class_type, title + self.label, **inputs)
        self.graph.bands[node.id] = self.band
        return node

    def encode(self, node_id: str, title: str, text: str, *, extra: bool) -> Node:
        """Add an EriTripleTextEncode on the spec's output `text` ("prompt" or "negative").

        extra: use the items' prompts for the second and third encoder where the config has them.
        """
        second = third = False
        if extra:
            second = any(item.prompt_2 for item in self.spec.items)
            third = any(item.prompt_3 for item in self.spec.items)
        return self.add(
            node_id,
            "EriTripleTextEncode",
            title,
            clip=self.clip,
            prompt=self.source.out(text),
            prompt_2=self.source.out("prompt_2") if second else "",
            prompt_3=self.source.out("prompt_3") if third else "",
            t5_length=self.profile.t5_length,
            weighting=self.profile.weighting,
            empty=self.profile.empty,
            width=self.source.out("width"),
            height=self.source.out("height"),
            long_prompt=self.profile.long_prompt,
            missing="host",
        )

    def latent(self, class_type: str) -> Node:
        """Add the stock empty latent of the items' sizes."""
        width, height = self.source.out("width"), self.source.out("height")
        return self.add("latent", class_type, "Empty latents", width=width, height=height, batch_size=1)

    def euler(self) -> Node:
        """Add flow-matching Euler without churn."""
        return self.add("sampler", "EriFlowEulerSampler", "Euler", s_churn=0.0, s_tmin=0.0, s_tmax=1.0, s_noise=1.0)


@dataclass(frozen=True)
class Sampling:
    """What a family's builder hands back: the links EriSample needs besides noise and cfg; no model = the chain's."""

    positive: Link
    negative: Link
    latent: Link
    sigmas: Link
    sampler: Link
    model: Link | None = None
