"""SD 3.5 Medium, Large and Large Turbo: CLIP-L + CLIP-G + T5, flow matching with a fixed shift, true CFG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..lora.names import sd35 as names
from ..spec.model import SampleItem
from ..workflows.chain import Chain, Sampling, Stock
from ..workflows.graph import Link
from .encoders import CLIP_G, CLIP_L, T5XXL, Like, ModelFile
from .family import Family, LoraTraits, StockFacts, Variant, Widths
from .profile import Profile


def _sampling(chain: Chain) -> Sampling:
    """Add SD 3.5's conditioning, latents, schedule and sampler."""
    positive = chain.encode("positive", "Prompts", "prompt", extra=True)
    negative = chain.encode("negative", "Negative prompts", "negative", extra=False)
    latent = chain.latent()
    return Sampling(
        positive=positive.out("conditioning"),
        negative=negative.out("conditioning"),
        latent=latent.out("latent"),
        sigmas=flow_sigmas(chain),
        sampler=chain.flow_sampler().out("sampler"),
        model=skip_layers(chain),
    )


def flow_sigmas(chain: Chain) -> Link:
    """The schedule of a constant shift."""
    node = chain.add(
        "sigmas",
        "EriFlowSchedule",
        "Flow schedule",
        steps=chain.source.out("steps"),
        shift=chain.profile.shift,
        spacing=chain.profile.spacing,
        denoise=1.0,
    )
    return node.out("sigmas")


def skip_layers(chain: Chain) -> Link:
    """The chain's model, with the stock skip-layer guidance where the profile asks for it."""
    profile = chain.profile
    if not profile.skip_layers:
        return chain.model
    return chain.add(
        "skip_layers", "SkipLayerGuidanceSD3", "Skip-layer guidance", model=chain.model, **_skipped(profile)
    ).out("model")


def _skipped(profile: Profile) -> dict[str, Any]:
    start, end = profile.skip_start, profile.skip_end
    return {"layers": profile.skip_layers, "scale": profile.skip_scale, "start_percent": start, "end_percent": end}


FLOW_SPACINGS: Final = ("timesteps", "linear", "cosine", "simple", "beta", "beta timesteps")
#: Entries of ComfyUI's table of sigmas.
_TABLE: Final = 1000
#: Our spacing -> ComfyUI's scheduler.
_SCHEDULERS: Final = {
    "timesteps": "normal",
    "linear": "simple",
    "simple": "simple",
    "cosine": "simple",
    **dict.fromkeys(("beta", "beta timesteps"), "beta"),
}


def _published(model: str, name: str) -> ModelFile:
    return ModelFile.of(f"stabilityai/stable-diffusion-3.5-{model}", f"sd3.5_{name}.safetensors", "checkpoints")


_LARGE: Final = _published("large", "large")
_MEDIUM: Final = _published("medium", "medium")
_TURBO: Final = _published("large-turbo", "large_turbo")


def _stock_model(stock: Stock, profile: Profile, item: SampleItem, model: Link) -> Link:
    shifted = stock.shared("shift", "ModelSamplingSD3", "Shift", model=model, shift=profile.shift)
    if not profile.skip_layers:
        return shifted
    return stock.shared(
        "skip_layers", "SkipLayerGuidanceSD3", "Skip-layer guidance", model=shifted, **_skipped(profile)
    )


def _stock_sampler(stock: Stock, profile: Profile, item: SampleItem) -> tuple[str, str]:
    if profile.spacing == "cosine":
        stock.note("ComfyUI has no cosine schedule for SD 3.5: 'simple' is used, the pictures differ.")
    elif profile.spacing.startswith("beta"):
        stock.note("ComfyUI's 'beta' takes its sigmas from a table, the trainer from a formula: the pictures differ.")
    elif profile.spacing == "linear":
        stock.simple(item.steps, _TABLE, profile.shift)
    return "euler", _SCHEDULERS[profile.spacing]


def _stock_texts(stock: Stock, title: str, clip: Link, texts: tuple[str | Link, ...], guidance: float | None) -> Link:
    return stock.add(
        "prompt", "CLIPTextEncodeSD3", title, clip=clip, clip_l=texts[0], clip_g=texts[1], t5xxl=texts[2],
        empty_padding="empty_prompt",
    )  # fmt: skip


def _widths(config: Mapping[str, Any]) -> Widths:
    embedder = config.get("context_embedder_config") or {}
    return Widths(embedder.get("params", {}).get("in_features"), config.get("adm_in_channels"))


FAMILY = Family(
    id="sd35",
    title="SD 3.5",
    variants=(
        Variant(
            "3-medium",
            named=r"(?<![.0-9])3(?:[-_.]?0)?[-_.]medium[^/]*$",
            offered=r"sd3[-_.]?medium",
            file=ModelFile.of("stabilityai/stable-diffusion-3-medium", "sd3_medium.safetensors", "checkpoints"),
            note="The base model is SD 3.0 Medium, not SD 3.5; it samples by the same rules.",
        ),
        Variant(
            "large-turbo", named=r"turbo[^/]*$", offered=r"large.*turbo|turbo", file=_TURBO, takes_cfg=False
        ),
        Variant("large", named=r"large[^/]*$", offered=r"large(?!.*turbo)", file=_LARGE),
        Variant("medium", named=r"medium[^/]*$", offered=r"medium", file=_MEDIUM),
    ),
    embedded_guidance=False,
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    smallest_side=16,
    size_multiple=8,
    encoders=(CLIP_L, CLIP_G, T5XXL),
    fewest_encoders=2,
    clip_type="sd3",
    main="checkpoint",
    files={"checkpoint": _LARGE, "clip_l": CLIP_L.file, "clip_g": CLIP_G.file, "t5xxl": T5XXL.file},
    model_like=Like(
        r"sd[._-]?3[._-]?5|stable[._-]?diffusion[._-]?3[._-]?5", never=r"control|canny|depth|blur|lora|vae"
    ),
    vae_like=Like(r"sd[._-]?3.*vae"),
    model_classes=("SD3",),
    conditioning_widths=_widths,
    batches=True,
    reference=Profile(t5_length=256, spacing="timesteps"),
    spacings=FLOW_SPACINGS,
    schedule=lambda _: "shift",
    names=names.TABLE,
    lora=LoraTraits(
        # SDXL has attn2 too, below other names
        modules=r"(?:^|_)joint_blocks_\d|(?:^|_)pos_embed_proj$"
        r"|^(?!.*(?:attentions|input_blocks|middle_block|output_blocks)_\d)(?:.*_)?transformer_blocks_\d+_attn2_",
        stated=r"sd_?35?(?:$|[^0-9])|sd3\.5|stable-diffusion-v?3|sd3transformer",
        widths=(1536, 2432),
    ),
    sampling=_sampling,
    stock=StockFacts(t5_length=77, model=_stock_model, sampler=_stock_sampler, encode_apart=_stock_texts, guided=None),
)
