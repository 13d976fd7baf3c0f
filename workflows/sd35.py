"""SD 3.5 Medium, Large and Large Turbo: CLIP-L + CLIP-G + T5, flow matching with a fixed shift, true CFG."""

from __future__ import annotations

from .chain import Chain, Sampling


def add_sampling(chain: Chain) -> Sampling:
    """Add SD 3.5's conditioning, latents, schedule and sampler."""
    positive = chain.encode("positive", "Prompts", "prompt", extra=True)
    negative = chain.encode("negative", "Negative prompts", "negative", extra=False)
    latent = chain.latent("EmptySD3LatentImage")
    sigmas = chain.add(
        "sigmas",
        "EriFlowSchedule",
        "Flow schedule",
        steps=chain.source.out("steps"),
        shift=chain.profile.shift,
        spacing=chain.profile.spacing,
        denoise=1.0,
    )
    return Sampling(
        positive=positive.out("conditioning"),
        negative=negative.out("conditioning"),
        latent=latent.out("latent"),
        sigmas=sigmas.out("sigmas"),
        sampler=chain.euler().out("sampler"),
    )
