"""What a model family has to say of itself: everything that the rest of the pack asks about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ..lora.names import NameTable
from .encoders import Encoder, Like, ModelFile
from .profile import Profile

if TYPE_CHECKING:
    from ..spec.model import SampleItem
    from ..workflows.chain import Chain, Sampling, Stock
    from ..workflows.graph import Link

#: ComfyUI's nodes for one, two and three text encoders in files of their own.
CLIP_LOADERS: Final = ("CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader")


@dataclass(frozen=True)
class Variant:
    """One of a family's published models.

    Args:
        id: our word for it, as in a config's `variant`.
        named: pattern that a base model's name in a config has for this variant; slashes are "/", letters small.
        offered: pattern that its files have in their names, folder and all, in small letters.
        file: its usual diffusion model or checkpoint.
        model_like: what its files are called where the family's `model_like` leaves them out, None = as there.
        guidance_note: what to tell a person who sets a guidance value that this variant ignores, "" where it does not.
        takes_cfg: whether classifier-free guidance is of use to it: distilled models were made to run without.
        note, difference: what to tell a person whose config names this variant, "" = nothing; a difference makes other
            pictures than the trainer's.
    """

    id: str
    named: str
    offered: str
    file: ModelFile
    guidance_note: str = ""
    note: str = ""
    difference: str = ""
    model_like: Like | None = None
    takes_cfg: bool = True


#: A list of timesteps; sigmas shifted by a constant or by the picture's size; sigmas that are not shifted.
Schedule = Literal["timesteps", "shift", "shift by size", "unshifted"]


class Widths(NamedTuple):
    """How wide a model wants its conditioning, None where it does not tell."""

    tokens: int | None
    pooled: int | None


@dataclass(frozen=True)
class LoraTraits:
    """What tells that a LoRA file is for a family.

    Args:
        modules: pattern in module names that the family has and not all others, "." written as "_". Where the patterns
            of two families find the same names, a file is for those that all of its names allow.
        stated: pattern in what a file's metadata says of its base model; letters of either size.
        widths: model widths of a transformer whose diffusers names are `transformer_blocks.N.attn.to_q`, which several
            families have; () for others.
        text_width: width of the text that cross-attention takes, None where nothing is told by it.
        older: text widths of other models with the same module names -> their titles.
    """

    modules: str
    stated: str
    widths: tuple[int, ...] = ()
    text_width: int | None = None
    older: Mapping[int, str] | None = None


@dataclass(frozen=True)
class StockFacts:
    """How the family is sampled with ComfyUI's own nodes only, and what they cannot do as the trainer does.

    Args:
        t5_length: T5 tokens to which ComfyUI pads by itself, None without T5.
        model: adds what goes between the loaded model and KSampler: the shift, written out, and whatever else the
            profile asks for.
        sampler: KSampler's sampler and scheduler for an item; notes what they miss.
        encode_apart: adds the node that gives each encoder its own text (the texts in the order of the encoders), None
            where stock nodes cannot.
        guided: adds the item's embedded guidance to a conditioning, None where the family has none.
    """

    t5_length: int | None
    model: Callable[[Stock, Profile, SampleItem, Link], Link]
    sampler: Callable[[Stock, Profile, SampleItem], tuple[str, str]]
    encode_apart: Callable[[Stock, str, Link, tuple[str | Link, ...], float | None], Link] | None
    guided: Callable[[Stock, Link, float | None], Link] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """One model family. Only what most families lack has a default.

    Args:
        id: our word for it in configs, graphs and on the command line.
        title: its name for people.
        variants: its published models, in the order in which a name is compared with them.
        embedded_guidance: whether a config's one guidance number is fed to the model (True) or is the scale of
            classifier-free guidance (False).
        latent_channels: channels of its latents, which are cells of `size_multiple` pixels.
        empty_latent: stock node that makes an empty latent.
        smallest_side: fewest pixels of a side.
        size_multiple: what the pixels of a side are a multiple of.
        encoders: its text encoders, in the order of ComfyUI's loaders and of prompt, prompt_2, prompt_3.
        fewest_encoders: how many of them it can run with; ComfyUI leaves the others out.
        clip_type: the family's word in CLIPLoader and DualCLIPLoader.
        size_ids: whether the picture's size is part of the conditioning.
        main: where its diffusion model usually comes from: "unet" (a file of its own) or "checkpoint".
        files: usual files by part: `main` for the variant that is not named, encoders and "vae" where they are files of
            their own.
        model_like: what files of its diffusion model are called.
        vae_like: what files of its VAE are called.
        model_classes: names of its classes in ComfyUI's comfy.model_base; classes derived from them are other models.
        conditioning_widths: from a model's unet_config in ComfyUI, how wide its conditioning is.
        batches: whether ComfyUI keeps the images of a batch apart, so that several rows can be sampled as one.
        reference: how its authors' own code samples it; a trainer's row says what differs from that.
        spacings: the words for `Profile.spacing`.
        schedule: what its sigmas are made of, for a profile; `eri explain` and the documents say it in words.
        names: module names in LoRA files.
        lora: what tells that a LoRA file is for it.
        sampling: adds conditioning, latents, schedule and sampler to a graph.
        stock: how it is sampled with stock nodes.
    """

    id: str
    title: str
    variants: tuple[Variant, ...]
    embedded_guidance: bool
    latent_channels: int
    empty_latent: str
    smallest_side: int
    size_multiple: int
    encoders: tuple[Encoder, ...]
    fewest_encoders: int
    clip_type: str
    size_ids: bool = False
    main: str
    files: Mapping[str, ModelFile]
    model_like: Like
    vae_like: Like
    model_classes: tuple[str, ...]
    conditioning_widths: Callable[[Mapping[str, Any]], Widths]
    batches: bool
    reference: Profile
    spacings: tuple[str, ...]
    schedule: Callable[[Profile], Schedule]
    names: NameTable
    lora: LoraTraits
    sampling: Callable[[Chain], Sampling]
    stock: StockFacts

    def variant(self, id: str | None) -> Variant | None:
        """The variant of that id, None where it is not one of the published ones."""
        return next((variant for variant in self.variants if variant.id == id), None)

    def variant_of(self, name: str) -> str | None:
        """The variant that a base model's name or path tells, None where it tells none."""
        words = name.replace("\\", "/").lower()
        return next((variant.id for variant in self.variants if re.search(variant.named, words)), None)

    def guidance_fields(self, value: float) -> tuple[float, float | None]:
        """A config's one guidance number as `cfg_scale, guidance`."""
        return (1.0, value) if self.embedded_guidance else (value, None)

    def ignores_guidance(self, variant: str | None, note: Callable[[str], None]) -> bool:
        """Whether this variant ignores a guidance value; `note` is told why where it does."""
        known = self.variant(variant)
        if known is None or not known.guidance_note:
            return False
        note(known.guidance_note)
        return True

    @property
    def clip_loader(self) -> str:
        """ComfyUI's node that loads all of its text encoders from files of their own."""
        return CLIP_LOADERS[len(self.encoders) - 1]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The encoders' keys in ComfyUI's token dictionary, in the order of the prompts."""
        return tuple(encoder.tokens for encoder in self.encoders)

    @property
    def model_files(self) -> tuple[ModelFile, ...]:
        """All published files of the family that are known."""
        further = (file for encoder in self.encoders for file in (encoder.file, *encoder.files))
        return (*self.files.values(), *(variant.file for variant in self.variants), *further)
