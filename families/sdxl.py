"""SDXL: CLIP-L + CLIP-G with size ids, epsilon prediction, DDIM, true CFG."""

from __future__ import annotations

from ..workflows.chain import Chain, Sampling
from .family import Family
from .profile import Profile


def add_sampling(chain: Chain) -> Sampling:
    """Add SDXL's conditioning, latents, schedule and sampler."""
    profile = chain.profile
    positive = chain.encode("positive", "Prompts", "prompt", extra=True)
    negative = chain.encode("negative", "Negative prompts", "negative", extra=False)
    latent = chain.latent("EmptyLatentImage")
    sigmas = chain.add(
        "sigmas",
        "EriDDIMSchedule",
        "DDIM schedule",
        model=chain.model,
        steps=chain.source.out("steps"),
        spacing=profile.spacing,
        offset=profile.offset,
        zero_terminal_snr=profile.zero_snr,
        final_alpha=profile.final_alpha,
        denoise=1.0,
    )
    sampler = chain.add(
        "sampler",
        "EriDDIMSampler",
        "DDIM",
        eta=profile.eta,
        clip_sample=profile.clip_sample,
        clip_range=1.0,
        use_clipped_model_output=False,
    )
    return Sampling(
        positive=positive.out("conditioning"),
        negative=negative.out("conditioning"),
        latent=latent.out("latent"),
        sigmas=sigmas.out("sigmas"),
        sampler=sampler.out("sampler"),
    )


FAMILY = Family(
    id="sdxl",
    title="SDXL",
    variants=(),
    embedded_guidance=False,
    reference=Profile(spacing="leading"),
)
