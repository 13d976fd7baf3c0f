"""Chroma, made from Flux schnell: T5 alone, true CFG; a layer of its own stands for Flux's modulation and guidance."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..lora.names import chroma as names
from ..spec.model import SampleItem
from ..workflows.chain import Chain, Sampling, Stock
from ..workflows.graph import Link
from .encoders import T5XXL, Like, ModelFile
from .family import Family, LoraTraits, StockFacts, Variant, Widths
from .flux import FAMILY as FLUX
from .flux import flux_sigmas
from .profile import Profile
from .sd35 import FAMILY as SD35
from .sd35 import FLOW_SPACINGS, flow_sigmas


def _sampling(chain: Chain) -> Sampling:
    """Add Chroma's conditioning, latents, schedule and sampler.

    Without a guidance value, ComfyUI feeds 0 to the guidance layer, as Chroma was trained.
    """
    prompts = chain.encode("positive", "Prompts", "prompt", extra=False)
    positive = _guidance(chain, "guidance", prompts.out("conditioning"))
    negatives = chain.encode("negative", "Negative prompts", "negative", extra=False)
    negative = _guidance(chain, "negative_guidance", negatives.out("conditioning"))
    latent, sampler = chain.latent(), chain.flow_sampler()
    # shifted by the picture's size, or by a constant
    sigmas = flux_sigmas(chain) if chain.profile.shifted else flow_sigmas(chain)
    return Sampling(positive, negative, latent.out("latent"), sigmas, sampler.out("sampler"))


def _guidance(chain: Chain, node_id: str, conditioning: Link) -> Link:
    if chain.spec.items[0].guidance is None:
        return conditioning
    value = chain.source.out("guidance")
    node = chain.add(node_id, "FluxGuidance", "To the guidance layer", conditioning=conditioning, guidance=value)
    return node.out("conditioning")


def _published(name: str) -> ModelFile:
    return ModelFile.of(f"lodestones/{name}", f"{name}.safetensors", "diffusion_models")


_HD: Final = _published("Chroma1-HD")


def _stock_model(stock: Stock, profile: Profile, item: SampleItem, model: Link) -> Link:
    if profile.shifted:
        return FLUX.stock.model(stock, replace(profile, shift=0.0), item, model)
    # SD 3.5's shift, for a model whose times go from 0 to 1
    return stock.shared("shift", "ModelSamplingAuraFlow", "Shift", model=model, shift=profile.shift)


def _stock_sampler(stock: Stock, profile: Profile, item: SampleItem) -> tuple[str, str]:
    if profile.t5_padding not in ("all", "one"):
        stock.note("T5 sees one padding token with stock nodes, and not what the trainer's sees: the pictures differ.")
    if profile.shifted:
        sampler, scheduler = FLUX.stock.sampler(stock, replace(profile, shift=0.0), item)
    else:
        sampler, scheduler = SD35.stock.sampler(stock, profile, item)
    if profile.sampler == "dpmpp_2m":
        stock.note("ComfyUI's 'dpmpp_2m' counts in log sigma, the trainer in a flow model's log SNR: pictures differ.")
        return profile.sampler, scheduler
    return sampler, scheduler


def _stock_guided(stock: Stock, conditioning: Link, guidance: float | None) -> Link:
    if guidance is None:
        return conditioning
    title = "To the guidance layer"
    return stock.add("guidance", "FluxGuidance", title, conditioning=conditioning, guidance=guidance)


FAMILY = Family(
    id="chroma",
    title="Chroma",
    variants=(
        Variant("flash", named=r"flash", offered=r"flash", file=_published("Chroma1-Flash")),
        Variant("base", named=r"chroma1?-?base|-v48(?![0-9])", offered=r"base|v48", file=_published("Chroma1-Base")),
        Variant("hd", named=r"chroma1?-?hd", offered=r"hd", file=_HD),
    ),
    embedded_guidance=False,
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    smallest_side=16,
    size_multiple=8,
    encoders=(T5XXL,),
    fewest_encoders=1,
    clip_type="chroma",
    main="unet",
    files={"unet": _HD, "t5xxl": T5XXL.file, "vae": FLUX.files["vae"]},
    # never: pixels instead of latents, or another architecture
    model_like=Like(r"chroma", never=r"radiance|zeta|control|lora|vae"),
    vae_like=FLUX.vae_like,
    model_classes=("Chroma",),
    conditioning_widths=lambda config: Widths(config.get("context_in_dim"), None),
    batches=True,
    reference=Profile(t5_length=512, t5_padding="one unseen", spacing="linear"),
    spacings=FLOW_SPACINGS,
    schedule=lambda profile: "shift by size" if profile.shifted else "shift",
    names=names.TABLE,
    lora=LoraTraits(
        # Flux's blocks but for their modulation
        modules=r"(?:^|_)(?:single_transformer_blocks|single_blocks|double_blocks)_\d+_(?!(?:img_|txt_)?mod|norm_linear)"
        r"|(?:^|_)distilled_guidance_layer",
        stated=r"^chroma(?!.*radiance)|train_chroma$",
        widths=(3072,),
    ),
    sampling=_sampling,
    stock=StockFacts(t5_length=1, model=_stock_model, sampler=_stock_sampler, encode_apart=None, guided=_stock_guided),
)
