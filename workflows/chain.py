"""What the families add their nodes to: a chain from one sample-spec node to one saver, and a graph of stock nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from ..families.profile import FALLBACK_NOISE, Profile
from ..spec.model import SampleSpec
from .graph import WRAPPERS, Graph, Link, Literal, Node

if TYPE_CHECKING:
    from ..families.family import Family


@dataclass(frozen=True)
class Loaded:
    """Links to the three things every graph starts from."""

    model: Link
    clip: Link
    vae: Link


@dataclass(frozen=True)
class Chain:
    """One run of nodes through a graph, for the items of `spec` (which share LoRA strength and sampler).

    Args:
        family: the spec's.
        source: the EriSampleSpec node.
        model, clip: links after the LoRA.
        vae: the loaded one.
        suffix: appended to node ids, "" for the first chain, then "_2" and so on.
        label: appended to titles.
        band: the chain's number, which is its place on the canvas.
    """

    graph: Graph
    spec: SampleSpec
    family: Family
    profile: Profile
    source: Node
    model: Link
    clip: Link
    vae: Link
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
            t5_padding=self.profile.t5_padding,
            text_rules=self.profile.text_rules,
        )

    def latent(self) -> Node:
        """Add the family's empty latents of the items' sizes."""
        width, height = self.source.out("width"), self.source.out("height")
        kind = self.family.empty_latent
        return self.add("latent", kind, "Empty latents", width=width, height=height, batch_size=1)

    def control_latent(self) -> Link:
        """The latents of the items' control images, which are added once."""
        drawn = self.profile.control_drawn
        made = self.graph.nodes.get(("control" if drawn else "control_latent") + self.suffix)
        if made is None:
            # by the generator of the initial noise, in the latent's order and the dtype of musubi-tuner's VAE
            draw = f"{self.profile.noise.split('/')[0]}/nchw/bfloat16"
            own: dict[str, Literal | Link] = {"draw": draw, "vae": self.vae} if drawn else {}
            spec, fit = self.source.out("spec"), self.profile.control_fit
            made = self.add("control", "EriControlImages", "Control images", fit=fit, spec=spec, **own)
            if not drawn:
                pixels = made.out("image")
                made = self.add("control_latent", "VAEEncode", "Encode control images", pixels=pixels, vae=self.vae)
        return made.out("latent")

    def flow_sampler(self) -> Node:
        """Add flow-matching Euler, DPM-Solver++ (2M) or DDIM, with the noise of the profile's steps."""
        profile = self.profile
        if profile.sampler == "ddim":
            return self.ddim(spacing="auto", offset=1)
        return self.add(
            "sampler",
            "EriFlowEulerSampler",
            "DPM++ 2M" if profile.sampler else "Euler",
            s_churn=profile.s_churn,
            s_tmin=profile.s_tmin,
            s_tmax=min(profile.s_tmax, 1.0),
            s_noise=profile.s_noise,
            eta=profile.eta,
            noise=profile.noise if profile.eta or profile.s_churn else FALLBACK_NOISE,
            latent_dtype=(self.spec.precision or "bfloat16") if profile.half_steps else "float32",
            method=profile.sampler or "euler",
        )

    def ddim(self, spacing: str, offset: int) -> Node:
        """Add DDIM, for a schedule of this spacing."""
        return self.add(
            "sampler",
            "EriDDIMSampler",
            "DDIM",
            eta=self.profile.eta,
            clip_sample=self.profile.clip_sample,
            clip_range=1.0,
            use_clipped_model_output=False,
            spacing=spacing,
            offset=offset,
        )


@dataclass(frozen=True)
class Sampling:
    """What a family hands back: the links that EriSample needs besides noise and cfg.

    No negative = none is run; no model = the chain's.
    """

    positive: Link
    negative: Link | None
    latent: Link
    sigmas: Link
    sampler: Link
    model: Link | None = None


@dataclass
class Stock:
    """A graph of ComfyUI's own nodes in the making; nodes that several samples can share are made once.

    Args:
        lora: the checkpoint's name as LoraLoader lists it, None = none.
        notes: what stock nodes cannot do as the trainer does.
        made: outputs that can be shared, by what they depend on.
        numbers: how many nodes of a kind there are.
        band: number of the sample at hand.
        off_by: how far a sigma lies from the trainer's at most, for want of a schedule that has it.
        table: entries of the table of sigmas that `off_by` comes from.
    """

    graph: Graph
    spec: SampleSpec
    family: Family
    loaded: Loaded
    lora: str | None
    notes: list[str] = field(default_factory=list)
    made: dict[tuple[object, ...], Link] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    band: int = 0
    off_by: float = 0.0
    table: int = 0

    def add(self, node_id: str, class_type: str, title: str, /, **inputs: Literal | Link) -> Link:
        """Add a node, numbered from the second of its kind on, a wrapper from the first; returns its first output."""
        number = self.numbers[node_id] = self.numbers.get(node_id, 0) + 1
        unique = f"{node_id}_{number}" if number > 1 or node_id in WRAPPERS else node_id
        self.graph.add(unique, class_type, title, **inputs)
        self.graph.bands[unique] = self.band
        return Link(unique, 0)

    def shared(self, node_id: str, class_type: str, title: str, /, **inputs: Literal | Link) -> Link:
        """The first output of the node with these inputs, which is added where it is not there yet."""
        return self.once((class_type, *inputs.items()), lambda: self.add(node_id, class_type, title, **inputs))

    def once(self, key: tuple[object, ...], make: Callable[[], Link]) -> Link:
        """The output that was made for `key`, or the one that `make` adds now."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def note(self, text: str) -> None:
        """Say what is not as the trainer does it, once."""
        if text not in self.notes:
            self.notes.append(text)

    def simple(self, steps: int, table: int, shift: float) -> None:
        """Take account of ComfyUI's scheduler 'simple' where the trainer has evenly spaced times; both shifted alike.

        Args:
            table: entries of the model's table of sigmas, of which 'simple' takes every (table / steps)th.
        """
        self.table, self.off_by = table, max(self.off_by, _off_by(steps, table, shift))


@lru_cache(maxsize=256)
def _off_by(steps: int, entries: int, shift: float) -> float:
    """How far the sigmas of 'simple' lie from those of evenly spaced times, at most."""

    def sigma(time: float) -> float:
        return shift * time / (1 + (shift - 1) * time)

    taken = (1 - int(step * entries / steps) / entries for step in range(steps))
    return max(abs(sigma(time) - sigma(1 - step / steps)) for step, time in enumerate(taken))
