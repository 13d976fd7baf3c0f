"""Flux dev and schnell: CLIP-L + T5, embedded guidance, resolution-dependent shift."""

from __future__ import annotations

from ..workflows.chain import Chain, Sampling
from ..workflows.graph import Link
from .family import Family, Variant
from .profile import Profile


def add_sampling(chain: Chain) -> Sampling:
    """Add Flux's conditioning, latents, schedule and sampler.

    Without true CFG the negative is never run, so it is the positive zeroed out and no prompt is encoded for it.
    Items without a guidance value run with the guidance embedding switched off.
    """
    prompts = chain.encode("positive", "Prompts", "prompt", extra=True)
    positive = _guidance(chain, "guidance", prompts.out("conditioning"))
    if any(item.cfg_scale != 1.0 for item in chain.spec.items):
        negatives = chain.encode("negative", "Negative prompts", "negative", extra=False)
        negative = _guidance(chain, "negative_guidance", negatives.out("conditioning"))
    else:
        zeroed = chain.add("negative", "ConditioningZeroOut", "No negative", conditioning=prompts.out("conditioning"))
        negative = zeroed.out("conditioning")
    latent = chain.latent("EmptySD3LatentImage")
    sigmas = chain.add(
        "sigmas",
        "EriFluxSchedule",
        "Flux schedule",
        steps=chain.source.out("steps"),
        width=chain.source.out("width"),
        height=chain.source.out("height"),
        base_shift=chain.profile.base_shift,
        max_shift=chain.profile.max_shift,
        shifted=chain.profile.shifted,
        denoise=1.0,
        spacing=chain.profile.spacing,
    )
    return Sampling(positive, negative, latent.out("latent"), sigmas.out("sigmas"), chain.euler().out("sampler"))


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


FAMILY = Family(
    id="flux",
    title="Flux",
    variants=(
        Variant(
            "schnell",
            named=r"schnell",
            guidance_note="Flux schnell has no guidance embedding: the guidance value has no effect.",
        ),
        Variant("dev", named=r"(?<![a-z])dev(?![a-z])"),
    ),
    embedded_guidance=True,
    reference=Profile(t5_length=512, spacing="linear"),
)
