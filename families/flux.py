"""Flux dev and schnell: CLIP-L + T5, embedded guidance, resolution-dependent shift."""

from __future__ import annotations

import math
from typing import Final

from ..lora.names import flux as names
from ..spec.model import SampleItem
from ..workflows.chain import Chain, Sampling, Stock
from ..workflows.graph import Link
from .encoders import CLIP_L, T5XXL, Like, ModelFile
from .family import Family, LoraTraits, StockFacts, Variant, Widths
from .profile import Profile


def _sampling(chain: Chain) -> Sampling:
    """Add Flux's conditioning, latents, schedule and sampler.

    Without true CFG the negative is never run, so there is none.
    Items without a guidance value run with the guidance embedding switched off.
    """
    prompts = chain.encode("positive", "Prompts", "prompt", extra=True)
    positive = _guidance(chain, "guidance", _followed(chain, "reference", prompts.out("conditioning")))
    negative = None
    if any(item.cfg_scale != 1.0 for item in chain.spec.items):
        negatives = chain.encode("negative", "Negative prompts", "negative", extra=False)
        followed = _followed(chain, "negative_reference", negatives.out("conditioning"))
        negative = _guidance(chain, "negative_guidance", followed)
    latent = chain.latent()
    sigmas = flux_sigmas(chain, chain.profile.shift)
    return Sampling(positive, negative, latent.out("latent"), sigmas, chain.flow_sampler().out("sampler"))


def _followed(chain: Chain, node_id: str, conditioning: Link) -> Link:
    """A conditioning with Kontext's control images, where the items have some."""
    if chain.spec.items[0].control_image is None:
        return conditioning
    latent = chain.control_latent()
    node = chain.add(node_id, "ReferenceLatent", "Follow the control image", conditioning=conditioning, latent=latent)
    return node.out("conditioning")


def flux_sigmas(chain: Chain, shift: float = 0.0) -> Link:
    """Flux's schedule, shifted by the picture's size, or by `shift` where that is above 0, or not at all."""
    source, profile = chain.source, chain.profile
    node = chain.add(
        "sigmas",
        "EriFluxSchedule",
        "Flux schedule",
        steps=source.out("steps"),
        width=source.out("width"),
        height=source.out("height"),
        base_shift=profile.base_shift,
        max_shift=profile.max_shift,
        shifted=profile.shifted,
        denoise=1.0,
        spacing=profile.spacing,
        shift=shift if profile.shifted else 0.0,
    )
    return node.out("sigmas")


def _guidance(chain: Chain, node_id: str, conditioning: Link) -> Link:
    if chain.spec.items[0].guidance is None:
        node = chain.add(node_id, "FluxDisableGuidance", "No embedded guidance", conditioning=conditioning)
    else:
        node = chain.add(
            node_id,
            "FluxGuidance",
            "Embedded guidance",
            conditioning=conditioning,
            guidance=chain.source.out("guidance"),
        )
    return node.out("conditioning")


#: Entries of ComfyUI's table of sigmas.
_TABLE: Final = 10_000
_DEV: Final = ModelFile.of("Comfy-Org/flux1-dev", "flux1-dev.safetensors", "diffusion_models")
#: In names of files that are no base model of Flux's.
_NEVER: Final = r"canny|depth|redux|control|lora|flux[._-]?2|vae|klein"
#: FLUX.1's further published models.
_KREA, _KONTEXT, _FILL = (
    ModelFile.of(f"black-forest-labs/FLUX.1-{name}-dev", f"flux1-{name.lower()}-dev.safetensors", "diffusion_models")
    for name in ("Krea", "Kontext", "Fill")
)
_FLEX: Final = ModelFile.of("ostris/Flex.1-alpha", "Flex.1-alpha.safetensors", "diffusion_models")
_SCHNELL: Final = ModelFile.of("Comfy-Org/flux1-schnell", "flux1-schnell.safetensors", "diffusion_models")
_VAE: Final = ModelFile.of("Comfy-Org/Lumina_Image_2.0_Repackaged", "split_files/vae/ae.safetensors", "vae")


def _stock_model(stock: Stock, profile: Profile, item: SampleItem, model: Link) -> Link:
    high, low = (profile.max_shift, profile.base_shift) if profile.shifted else (0.0, 0.0)
    if profile.shifted and profile.shift:
        high = low = math.log(profile.shift)
    return stock.shared(
        "shift", "ModelSamplingFlux", "Flux shift", model=model, max_shift=high, base_shift=low, width=item.width,
        height=item.height,
    )  # fmt: skip


def _stock_sampler(stock: Stock, profile: Profile, item: SampleItem) -> tuple[str, str]:
    if profile.spacing == "timesteps":
        stock.note("ComfyUI's 'simple' steps evenly to 0, the trainer to 0.001 first: the pictures differ.")
    else:
        stock.simple(item.steps, _TABLE, math.exp(_mu(profile, item)) if profile.shifted else 1.0)
    return "euler", "simple"


def _mu(profile: Profile, item: SampleItem) -> float:
    """The exponent of the shift for an image's size, as ModelSamplingFlux has it, or of the fixed shift."""
    if profile.shift:
        return math.log(profile.shift)
    slope = (profile.max_shift - profile.base_shift) / (4096 - 256)
    return profile.base_shift + slope * (item.width * item.height / 256 - 256)


def _stock_texts(stock: Stock, title: str, clip: Link, texts: tuple[str | Link, ...], guidance: float | None) -> Link:
    value = 3.5 if guidance is None else guidance
    return stock.add("prompt", "CLIPTextEncodeFlux", title, clip=clip, clip_l=texts[0], t5xxl=texts[1], guidance=value)


def _stock_guided(stock: Stock, conditioning: Link, guidance: float | None) -> Link:
    if guidance is None:
        return stock.add("guidance", "FluxDisableGuidance", "No embedded guidance", conditioning=conditioning)
    return stock.add("guidance", "FluxGuidance", "Embedded guidance", conditioning=conditioning, guidance=guidance)


FAMILY = Family(
    id="flux",
    title="Flux",
    variants=(
        Variant(
            "schnell",
            named=r"schnell",
            offered=r"schnell",
            file=_SCHNELL,
            guidance_note="Flux schnell has no guidance embedding: the guidance value has no effect.",
            takes_cfg=False,
        ),
        Variant("krea", named=r"krea(?![-_. ]?2)", offered=r"krea", file=_KREA),
        Variant(
            "kontext", named=r"kontext", offered=r"kontext", file=_KONTEXT, model_like=Like(r"kontext", never=_NEVER)
        ),
        Variant(
            "fill",
            named=r"(?<![a-z])fill(?![a-z])",
            offered=r"fill",
            file=_FILL,
            difference="The base model is FLUX.1 Fill, which repaints masked parts; it samples here as a plain one.",
        ),
        Variant("flex", named=r"flex[-_. ]?1(?![0-9])", offered=r"flex", file=_FLEX),
        Variant(
            "dev",
            named=r"(?<![a-z])dev(?![a-z])",
            offered=r"^(?!.*(?:schnell|krea|kontext|fill|flex)).*dev",
            file=_DEV,
        ),
    ),
    embedded_guidance=True,
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    smallest_side=16,
    size_multiple=8,
    encoders=(CLIP_L, T5XXL),
    fewest_encoders=2,
    clip_type="flux",
    main="unet",
    files={"unet": _DEV, "clip_l": CLIP_L.file, "t5xxl": T5XXL.file, "vae": _VAE},
    # never: models for other tasks than text to image, or of another architecture
    model_like=Like(r"flux", never=rf"kontext|fill|{_NEVER}"),
    vae_like=Like(r"^ae\.|flux.*(vae|ae\.)", never=r"flux[._-]?2"),
    model_classes=("Flux",),
    # T5 has one width for Flux and SD 3.5; the pooled vector tells them apart.
    conditioning_widths=lambda config: Widths(config.get("context_in_dim"), config.get("vec_in_dim")),
    batches=True,
    reference=Profile(t5_length=512, spacing="linear", shift=0.0),
    spacings=("linear", "timesteps"),
    schedule=lambda profile: "unshifted" if not profile.shifted else "shift" if profile.shift else "shift by size",
    names=names.TABLE,
    lora=LoraTraits(
        modules=r"(?:^|_)(?:single_transformer_blocks|single_blocks|double_blocks)_\d|^lora_block\d"
        r"|(?:^|_)guidance_(?:in|embedder)_",
        stated=r"^flux(?![-_.]?2)|train_flux$",
        widths=(3072,),
    ),
    sampling=_sampling,
    stock=StockFacts(
        t5_length=256, model=_stock_model, sampler=_stock_sampler, encode_apart=_stock_texts, guided=_stock_guided
    ),
)
