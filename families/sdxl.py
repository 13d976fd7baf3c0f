"""SDXL: CLIP-L + CLIP-G with size ids, epsilon prediction, DDIM, true CFG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ..lora.names import sdxl as names
from ..spec.model import SampleItem
from ..workflows.chain import Chain, Sampling, Stock
from ..workflows.graph import Link
from .encoders import CLIP_G, CLIP_L, Like, ModelFile
from .family import Family, LoraTraits, StockFacts, Widths
from .profile import ANCESTRAL, Profile

#: Our word -> that of ComfyUI's ModelSamplingDiscrete, where it is another one.
_PREDICTIONS: Final = {"epsilon": "eps"}


def _sampling(chain: Chain) -> Sampling:
    """Add SDXL's conditioning, latents, schedule and sampler."""
    profile = chain.profile
    if profile.prediction:
        model = chain.add(
            "prediction",
            "ModelSamplingDiscrete",
            "What the model predicts",
            model=chain.model,
            sampling=_PREDICTIONS.get(profile.prediction, profile.prediction),
            zsnr=False,
        )
        chain = replace(chain, model=model.out("model"))
    positive = chain.encode("positive", "Prompts", "prompt", extra=True)
    negative = chain.encode("negative", "Negative prompts", "negative", extra=False)
    latent = chain.latent()
    sigmas, sampler = _trainer_sampler(chain) if profile.sampler else _ddim(chain)
    return Sampling(
        positive=positive.out("conditioning"),
        negative=negative.out("conditioning"),
        latent=latent.out("latent"),
        sigmas=sigmas,
        sampler=sampler,
        model=chain.model,
    )


def _trainer_sampler(chain: Chain) -> tuple[Link, Link]:
    profile = chain.profile
    node = chain.add(
        "sampler",
        "EriTrainerSampler",
        "Trainer's sampler",
        sampler=profile.sampler,
        steps=chain.source.out("steps"),
        spacing=profile.spacing,
        offset=profile.offset,
        karras=profile.karras,
        clip_sample=profile.clip_sample,
        noise=profile.noise,
        start=profile.start,
        model=chain.model,
        eta=profile.eta if profile.sampler in ANCESTRAL else 1.0,
        s_churn=profile.s_churn,
        s_tmin=profile.s_tmin,
        s_tmax=profile.s_tmax,
        s_noise=profile.s_noise,
    )
    return node.out("sigmas"), node.out("sampler")


def _ddim(chain: Chain) -> tuple[Link, Link]:
    profile = chain.profile
    # the other spacings begin at the last timestep anyway
    spacing = "last, then leading" if profile.last_first and profile.spacing == "leading" else profile.spacing
    sigmas = chain.add(
        "sigmas",
        "EriDDIMSchedule",
        "DDIM schedule",
        model=chain.model,
        steps=chain.source.out("steps"),
        spacing=spacing,
        offset=profile.offset,
        zero_terminal_snr=profile.zero_snr,
        final_alpha=profile.final_alpha,
        denoise=1.0,
    )
    sampler = chain.ddim(spacing, profile.offset)
    return sigmas.out("sigmas"), sampler.out("sampler")


_BASE: Final = ModelFile.of("stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors", "checkpoints")


def _stock_model(stock: Stock, profile: Profile, item: SampleItem, model: Link) -> Link:
    if not profile.prediction:
        return model
    sampling = _PREDICTIONS.get(profile.prediction, profile.prediction)
    return stock.shared(
        "prediction", "ModelSamplingDiscrete", "What the model predicts", model=model, sampling=sampling, zsnr=False
    )


#: Our word -> ComfyUI's sampler, the same algorithm or the nearest one.
_STOCK_SAMPLERS: Final[Mapping[str, str]] = {
    "euler": "euler", "euler_a": "euler_ancestral", "heun": "heun", "dpm_2": "dpm_2", "dpm_2_a": "dpm_2_ancestral",
    "lms": "lms", "ddpm": "ddpm", "pndm": "ipndm", "plms": "ipndm", "dpmsolver++": "dpmpp_2m",
    "sde-dpmsolver++": "dpmpp_2m_sde", "dpmsingle": "dpmpp_2m", "unipc": "uni_pc_bh2",
    "dpmsolver": "dpmpp_2m", "lcm": "lcm", "custom_lcm": "lcm", "flowmatch": "euler",
    "mean_flow": "euler", "perflow": "euler",
}  # fmt: skip


def _stock_trainer_sampler(stock: Stock, profile: Profile) -> tuple[str, str]:
    name = _STOCK_SAMPLERS[profile.sampler]
    scheduler = "karras" if profile.karras else "normal" if profile.spacing == "linspace" else "ddim_uniform"
    stock.note(
        f"ComfyUI's {name!r} with {scheduler!r} is not the trainer's {profile.sampler}: it asks the model at whole "
        "timesteps, at other noise levels, and draws other noise where it draws any: the pictures differ."
    )
    return name, scheduler


def _stock_sampler(stock: Stock, profile: Profile, item: SampleItem) -> tuple[str, str]:
    if profile.sampler:
        return _stock_trainer_sampler(stock, profile)
    sampler = "ddpm" if profile.eta == 1.0 else "ddim"
    if 0.0 < profile.eta < 1.0:
        stock.note("ComfyUI's 'ddim' draws no noise in its steps, the trainer does (eta): the pictures differ.")
    if sampler == "ddpm":
        stock.note(
            "ComfyUI's 'ddpm' draws other noise at every step than the trainer; it starts from noise times the first "
            "sigma and ends on sigma 0: the pictures differ."
        )
    else:
        end = "" if profile.final_alpha == "1" else ", and ends on alpha[0]"
        stock.note(
            "ComfyUI's 'ddim' is Euler: it starts from noise times the first sigma and ends on sigma 0; the trainer "
            f"starts from the noise as it is drawn, a little stronger{end}: slightly off."
        )
    made = -(-999 // max(1000 // item.steps, 1))  # every (1000 // steps)th of the timesteps 1 .. 999
    if made != item.steps:
        stock.note(f"ComfyUI's 'ddim_uniform' makes {made} steps where the trainer makes {item.steps}: other pictures.")
    if profile.offset != 1 or profile.spacing != "leading":
        stock.note(f"ComfyUI's timesteps differ from the trainer's ({profile.spacing}, offset {profile.offset}).")
    return sampler, "ddim_uniform"


FAMILY = Family(
    id="sdxl",
    title="SDXL",
    variants=(),
    embedded_guidance=False,
    latent_channels=4,
    empty_latent="EmptyLatentImage",
    smallest_side=16,
    size_multiple=8,
    encoders=(CLIP_L, CLIP_G),
    fewest_encoders=2,
    clip_type="sdxl",
    size_ids=True,
    main="checkpoint",
    files={"checkpoint": _BASE},
    model_like=Like(r"sd[._-]?xl|[._-]?xl[._-]", never=r"refiner|turbo|lightning|inpaint|vae|control|lora"),
    vae_like=Like(r"sdxl.*vae|sd[._-]?xl.*vae"),
    model_classes=("SDXL",),
    conditioning_widths=lambda config: Widths(config.get("context_dim"), None),
    batches=True,
    reference=Profile(spacing="leading"),
    spacings=("leading", "trailing", "linspace"),
    schedule=lambda _: "timesteps",
    names=names.TABLE,
    lora=LoraTraits(
        modules=r"(?:^|_)(?:input_blocks|output_blocks|middle_block|down_blocks|up_blocks|mid_block)_\d",
        stated=r"sdxl|stable-diffusion-xl|train_sdxl",
        text_width=2048,
        older={768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 1280: "Stable Diffusion XL refiner"},
    ),
    sampling=_sampling,
    # encode_apart: CLIPTextEncodeSDXL takes sizes of its own, which differ between samples
    stock=StockFacts(t5_length=None, model=_stock_model, sampler=_stock_sampler, encode_apart=None, guided=None),
)
