"""SD 3.5 Medium, Large and Large Turbo: CLIP-L + CLIP-G + T5, flow matching with a fixed shift, true CFG."""

from __future__ import annotations

from ..workflows.chain import Chain, Sampling
from ..workflows.graph import Link
from .family import Family, Variant
from .profile import Profile


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
        model=skip_layers(chain),
    )


def skip_layers(chain: Chain) -> Link:
    """The chain's model, with the stock skip-layer guidance where the profile asks for it."""
    profile = chain.profile
    if not profile.skip_layers:
        return chain.model
    node = chain.add(
        "skip_layers",
        "SkipLayerGuidanceSD3",
        "Skip-layer guidance",
        model=chain.model,
        layers=profile.skip_layers,
        scale=profile.skip_scale,
        start_percent=profile.skip_start,
        end_percent=profile.skip_end,
    )
    return node.out("model")


FAMILY = Family(
    id="sd35",
    title="SD 3.5",
    variants=(
        Variant("large-turbo", named=r"turbo[^/]*$"),
        Variant("large", named=r"large[^/]*$"),
        Variant("medium", named=r"medium[^/]*$"),
    ),
    embedded_guidance=False,
    reference=Profile(t5_length=256, spacing="timesteps"),
)
