"""SAMPLERs with the trainers' steps, and sampling itself."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..host.ranges import in_range
from ..host.sampling.sample import sample_inputs
from ..host.sampling.samplers import sample_ddim, sample_flow_euler
from ..host.schema import SAMPLING_MENU, schema
from ..workflows.builder import MAX_BATCH


class EriFlowEulerSampler(io.ComfyNode):
    """Flow-matching Euler with variance-correct churn."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFlowEulerSampler",
            display_name="Flow Euler Sampler",
            category=SAMPLING_MENU,
            description="Euler steps for flow models (Flux, SD 3.5). At its defaults bit-equal to ComfyUI's euler; "
            "churn keeps the variance right for flow models, which the stock one does not.",
            search_aliases=["euler", "flow matching"],
            inputs=[
                io.Float.Input(
                    "s_churn",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    round=False,
                    tooltip="Noise added along the way, spread over the steps. 0 = none (plain Euler).",
                ),
                io.Float.Input(
                    "s_tmin",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Churn only at sigmas from here (a sigma, not a share of the steps).",
                ),
                io.Float.Input(
                    "s_tmax",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Churn only at sigmas up to here (a sigma, not a share of the steps).",
                ),
                io.Float.Input(
                    "s_noise",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="Strength of the churn noise; 1 keeps the variance.",
                ),
            ],
            outputs=[io.Sampler.Output(tooltip="For EriSample, SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    @in_range()
    def execute(cls, s_churn: float, s_tmin: float, s_tmax: float, s_noise: float) -> io.NodeOutput:
        options = {"s_churn": s_churn, "s_tmin": s_tmin, "s_tmax": s_tmax, "s_noise": s_noise}
        return io.NodeOutput(comfy.samplers.KSAMPLER(sample_flow_euler, options))


class EriDDIMSampler(io.ComfyNode):
    """Real DDIM / DDPM on epsilon, v and flow models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriDDIMSampler",
            display_name="DDIM Sampler",
            category=SAMPLING_MENU,
            description="DDIM as published (ComfyUI's own 'ddim' is Euler). With EriDDIMSchedule it gives diffusers' "
            "DDIMScheduler result, its previous timesteps and final alpha included. On flow models eta 0 is Euler.",
            search_aliases=["ddim", "ddpm"],
            inputs=[
                io.Float.Input(
                    "eta",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Share of fresh noise per step: 0 = deterministic DDIM, 1 = DDPM.",
                ),
                io.Boolean.Input(
                    "clip_sample",
                    default=False,
                    tooltip="Clamp the predicted picture (latent) in every step. Off for SDXL; kohya's DDIM has it on.",
                ),
                io.Float.Input(
                    "clip_range",
                    default=1.0,
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    round=False,
                    tooltip="Largest absolute value after clamping; used with clip_sample.",
                ),
                io.Boolean.Input(
                    "use_clipped_model_output",
                    default=False,
                    tooltip="Recompute the noise from the clamped picture; used with clip_sample.",
                ),
                io.Combo.Input(
                    "spacing",
                    options=["auto", "leading", "trailing", "linspace"],
                    default="auto",
                    optional=True,
                    tooltip="The spacing of EriDDIMSchedule, which says what the timestep before another one is. "
                    "auto = as the sigmas tell it; each to the next where they are no DDIM schedule.",
                ),
                io.Int.Input(
                    "offset",
                    default=1,
                    min=0,
                    max=999,
                    optional=True,
                    tooltip="The offset of EriDDIMSchedule; used with spacing leading.",
                ),
            ],
            outputs=[io.Sampler.Output(tooltip="For EriSample, SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    @in_range()
    def execute(cls, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(comfy.samplers.KSAMPLER(sample_ddim, options))


class EriSample(io.ComfyNode):
    """Sampling through the host's guider. It takes lists so that lists which do not fit each other are an error."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriSample",
            display_name="Sample",
            category=SAMPLING_MENU,
            description="Samples with ComfyUI's own guider, from explicit noise and sigmas. At CFG 1 only the positive "
            "prompt is run. Linked lists (prompts, seeds, sizes) run one after the other, or in batches. Out of "
            "memory, it goes on in smaller parts; the picture stays the same.",
            search_aliases=["KSampler", "SamplerCustom"],
            is_input_list=True,
            inputs=[
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="True classifier-free guidance; 1 = off (one pass). Flux' own guidance is in the positive.",
                ),
                io.Model.Input("model", tooltip="The model to sample with."),
                io.Conditioning.Input("positive", tooltip="The encoded prompt."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt; unused at CFG 1."),
                io.Noise.Input("noise", tooltip="Initial noise: EriTrainerNoise, RandomNoise or DisableNoise."),
                io.Sampler.Input("sampler", tooltip="EriFlowEulerSampler, EriDDIMSampler or KSamplerSelect."),
                io.Sigmas.Input("sigmas", tooltip="Noise levels from high to low, one more than steps."),
                io.Latent.Input("latent", tooltip="Empty latent of the wanted size, or one to go on from."),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=MAX_BATCH,
                    optional=True,
                    tooltip="The most images of linked lists to sample at once: of one size, schedule and CFG, with a "
                    "sampler that draws no noise. Faster, but the last digits change. 1 = one after the other.",
                ),
            ],
            outputs=[io.Latent.Output(is_output_list=True, tooltip="The denoised latent, for VAE Decode.")],
        )

    @classmethod
    @in_range()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(sample_inputs(inputs))
