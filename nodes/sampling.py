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
            description="Takes Euler steps on flow models (Flux, SD 3.5). With its defaults it equals ComfyUI's "
            "euler bit for bit. Its churn keeps the variance right on flow models; that of ComfyUI's euler does not.",
            search_aliases=["euler", "flow matching"],
            inputs=[
                io.Float.Input(
                    "s_churn",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    round=False,
                    tooltip="How much noise is added on the way, spread over the steps. 0 adds none (plain Euler).",
                ),
                io.Float.Input(
                    "s_tmin",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Noise is added only at this sigma and above. It is a sigma, not a share of the steps.",
                ),
                io.Float.Input(
                    "s_tmax",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Noise is added only at this sigma and below. It is a sigma, not a share of the steps.",
                ),
                io.Float.Input(
                    "s_noise",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="The strength of the added noise; 1 keeps the variance.",
                ),
            ],
            outputs=[io.Sampler.Output(tooltip="The sampler, for Sample, SamplerCustom or SamplerCustomAdvanced.")],
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
            description="Takes DDIM steps as they were published (ComfyUI's own 'ddim' is Euler). Together with DDIM "
            "Schedule it gives the result of diffusers' DDIMScheduler, with its previous timesteps and final alpha. "
            "On flow models, eta 0 is Euler.",
            search_aliases=["ddim", "ddpm"],
            inputs=[
                io.Float.Input(
                    "eta",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="The share of new noise in each step: 0 is deterministic DDIM, 1 is DDPM.",
                ),
                io.Boolean.Input(
                    "clip_sample",
                    default=False,
                    tooltip="Clamps the predicted latent in every step. SDXL has it off; kohya's DDIM has it on.",
                ),
                io.Float.Input(
                    "clip_range",
                    default=1.0,
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    round=False,
                    tooltip="The largest absolute value after clamping. It acts when clip_sample is on.",
                ),
                io.Boolean.Input(
                    "use_clipped_model_output",
                    default=False,
                    tooltip="Computes the noise again from the clamped latent. It acts when clip_sample is on.",
                ),
                io.Combo.Input(
                    "spacing",
                    options=["auto", "leading", "trailing", "linspace"],
                    default="auto",
                    optional=True,
                    tooltip="The spacing of DDIM Schedule, which decides which timestep precedes another one. auto "
                    "finds it from the sigmas. When they are no DDIM schedule, it steps from each sigma to the next.",
                ),
                io.Int.Input(
                    "offset",
                    default=1,
                    min=0,
                    max=999,
                    optional=True,
                    tooltip="The offset of DDIM Schedule. It acts with the spacing leading.",
                ),
            ],
            outputs=[io.Sampler.Output(tooltip="The sampler, for Sample, SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    @in_range()
    def execute(cls, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(comfy.samplers.KSAMPLER(sample_ddim, options))


class EriSample(io.ComfyNode):
    """Sampling through ComfyUI's guider. It takes lists whole, so that lists that do not fit are an error."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriSample",
            display_name="Sample",
            category=SAMPLING_MENU,
            description="Samples with ComfyUI's own guider from the given noise and sigmas. At CFG 1 only the "
            "positive prompt runs. Linked lists (prompts, seeds, sizes) run one after the other or in batches. When "
            "memory runs out, it goes on in smaller parts, and the picture stays the same.",
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
                    tooltip="True classifier-free guidance; 1 switches it off (one pass). Flux's own guidance is "
                    "part of the positive conditioning.",
                ),
                io.Model.Input("model", tooltip="The model to sample with."),
                io.Conditioning.Input("positive", tooltip="The encoded prompt."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt. At CFG 1 it is not used."),
                io.Noise.Input("noise", tooltip="The initial noise, from Trainer Noise, RandomNoise or DisableNoise."),
                io.Sampler.Input(
                    "sampler", tooltip="The sampler, from Flow Euler Sampler, DDIM Sampler or KSamplerSelect."
                ),
                io.Sigmas.Input("sigmas", tooltip="The noise levels from high to low, one more than there are steps."),
                io.Latent.Input("latent", tooltip="An empty latent of the wanted size, or a latent to start from."),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=MAX_BATCH,
                    optional=True,
                    tooltip="How many images of linked lists are sampled at once, at most. They must have the same "
                    "size, schedule and CFG, and a sampler that draws no noise. Batches are faster, but the last "
                    "digits change. 1 samples one after the other.",
                ),
            ],
            outputs=[io.Latent.Output(is_output_list=True, tooltip="The denoised latent, for VAE Decode.")],
        )

    @classmethod
    @in_range()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(sample_inputs(inputs))
