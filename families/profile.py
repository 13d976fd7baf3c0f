"""How samples are made: the numbers that a graph carries for one trainer and family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

#: Noise used where a trainer's own cannot be had: drawn in float32 on the CPU, NCHW, by torch.
FALLBACK_NOISE: Final = "torch-cpu/nchw/float32"


#: How a control image is fitted to what Flux Kontext takes.
CONTROL_FITS: Final = ("the sample's size", "its own size")
#: Words of samplers.trainer_levels.ALGORITHMS whose share of fresh noise can be set.
ANCESTRAL: Final = ("euler_a", "dpm_2_a", "sde-dpmsolver++")


#: Modes of EriMemoryPolicy that a config can ask for.
MEMORY_MODES: Final = ("offload", "sequential", "attention slicing", "VAE tiling")


class Remark(NamedTuple):
    """What a person should know about the match.

    topics: of `trainers.claims.TOPICS`, those it is about. where_off: setting of the profile, "" = none; a remark with
    one is made only while that setting is off.
    """

    text: str
    topics: tuple[str, ...] = ()
    where_off: str = ""


@dataclass(frozen=True)
class Profile:
    """The numbers a graph carries for one trainer and family.

    noise: profile text of EriTrainerNoise, "generator/layout/dtype". t5_length: exact T5 tokens, 0 = no T5.
    long_prompt: more than 77 CLIP tokens are cut ("truncate"), go on in further chunks ("chunks") or fill kohya's
    max_token_length ("150", "225"). weighting: whether `(word:1.2)` is syntax (True) or text (False). text_rules: whose
    CLIP tokenizers, "plain" (ComfyUI's), "kohya" (also its brackets) or "diffusers". empty: what an empty prompt means,
    "encode" or "zeros". rounding: how a pixel becomes one of 256 values, "truncate" or "round" (diffusers).
    Flux: shifted (False = schnell), shift (0 = by size, with base_shift and max_shift), spacing ("linear" or
    "timesteps"). Chroma: by size where shifted, else shift, spacing; t5_padding, one of host/text/encode.py's words.
    SD 3.5: shift, spacing, skip_layers (skip-layer guidance, e.g. "7, 8, 9"; "" = off), skip_scale, skip_start,
    skip_end (shares of the run).
    SDXL: spacing, offset (-1 = so that the first timestep is one interval below 1001), final_alpha ("alpha[0]" or "1"),
    zero_snr, last_first (DDIM begins at the last timestep), clip_sample, eta;
    sampler (a word of samplers.trainer_levels.ALGORITHMS, "" = DDIM, which alone has
    final_alpha and zero_snr), karras, start (one of samplers.trainer_levels.STARTS); prediction ("v_prediction", "" =
    as ComfyUI tells from the model's file). Of the others, sampler is "" (Euler), "ddim" or "dpmpp_2m".
    eta: share of fresh noise in the steps. s_churn, s_tmin, s_tmax: noise added before the steps of Euler; s_noise
    scales the noise of steps.
    rescale: phi of classifier-free guidance (Lin et al. 2023). lora_scale: what a LoRA is multiplied by in place of its
    own alpha / rank, -1 = its own.
    batch_size: samples denoised at once. memory: modes of EriMemoryPolicy, with commas between them; slice_size: its
    queries. use_lora: a graph without a LoRA is refused.
    zero_star: CFG-Zero* with an empty first step. cfg_from_step: the first step, from 0, with a negative pass.
    swapped_heads: SD 3.5 Medium's second self-attention runs with heads and head size swapped.
    half_steps: latents, and Flux's timesteps, are kept in the dtype that the trainer computes in.
    control_fit: Kontext, one of CONTROL_FITS: a control image is scaled to the sample's size, or cut at its right and
    lower edge to multiples of 16. control_drawn: its latent is drawn from the VAE's distribution, at the sample's seed.
    remarks: what a person should know about the match; notes: their texts.
    """

    noise: str = FALLBACK_NOISE
    t5_length: int = 0
    t5_padding: str = "all"
    weighting: bool = False
    text_rules: str = "plain"
    rounding: str = "truncate"
    long_prompt: str = "truncate"
    empty: str = "encode"
    shifted: bool = True
    base_shift: float = 0.5
    max_shift: float = 1.15
    shift: float = 3.0
    spacing: str = "timesteps"
    offset: int = 1
    final_alpha: str = "alpha[0]"
    zero_snr: bool = False
    last_first: bool = False
    clip_sample: bool = False
    eta: float = 0.0
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = 1000.0
    s_noise: float = 1.0
    sampler: str = ""
    karras: bool = False
    start: str = "scheduler"
    prediction: str = ""
    rescale: float = 0.0
    lora_scale: float = -1.0
    zero_star: bool = False
    cfg_from_step: int = 0
    swapped_heads: bool = False
    half_steps: bool = False
    control_fit: str = "the sample's size"
    control_drawn: bool = False
    batch_size: int = 1
    memory: str = ""
    slice_size: int = 1024
    use_lora: bool = False
    skip_layers: str = ""
    skip_scale: float = 2.5
    skip_start: float = 0.01
    skip_end: float = 0.2
    remarks: tuple[Remark, ...] = ()

    @property
    def memory_modes(self) -> list[str]:
        return [mode.strip() for mode in self.memory.split(",") if mode.strip()]

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(remark.text for remark in self.remarks)

    def remarked(self, text: str, *topics: str) -> Profile:
        """This profile with one remark more."""
        return replace(self, remarks=(*self.remarks, Remark(text, topics)))
