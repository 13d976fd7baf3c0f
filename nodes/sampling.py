"""SAMPLERs with the trainers' steps, sampling itself, and models as trainers run them."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..host.inputs import guarded
from ..host.sampling.model import PUBLISHED, SECOND_ATTENTION, trainers_model
from ..host.sampling.noise import PROFILES, problem_with
from ..host.sampling.sample import sample_inputs
from ..host.sampling.samplers import FLOW_METHODS, flow_euler, sample_ddim
from ..host.sampling.told import say_sigmas
from ..host.sampling.trainer_sampler import TrainerSampler
from ..host.schema import SAMPLING_MENU, schema
from ..samplers.schedules import DDIM_SPACINGS, LAST_FIRST
from ..samplers.trainer_levels import ALGORITHMS, SPACINGS, STARTS
from ..spec.model import DTYPES, MAX_CHURN, MAX_ETA, MAX_NOISE
from ..workflows.batch import MAX_BATCH


class EriFlowEulerSampler(io.ComfyNode):
    """Flow-matching Euler with variance-correct churn, or DPM-Solver++ (2M)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFlowEulerSampler",
            category=SAMPLING_MENU,
            search_aliases=["euler", "flow matching", "dpmpp_2m"],
            inputs=[
                io.Float.Input("s_churn", default=0.0, min=0.0, max=MAX_CHURN, step=0.01, round=False),
                io.Float.Input("s_tmin", default=0.0, min=0.0, max=1.0, step=0.01, round=False),
                io.Float.Input("s_tmax", default=1.0, min=0.0, max=1.0, step=0.01, round=False),
                io.Float.Input("s_noise", default=1.0, min=0.0, max=MAX_NOISE, step=0.01, round=False),
                io.Float.Input("eta", default=0.0, min=0.0, max=MAX_ETA, step=0.01, round=False, optional=True),
                io.Combo.Input("noise", options=PROFILES, default=PROFILES[0], optional=True),
                io.Combo.Input("latent_dtype", options=list(DTYPES), default=DTYPES[0], optional=True),
                io.Combo.Input("method", options=list(FLOW_METHODS), default=FLOW_METHODS[0], optional=True),
            ],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    def validate_inputs(cls, noise: str | None = None) -> bool | str:
        return problem_with(noise) or True

    @classmethod
    @guarded()
    def execute(cls, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(flow_euler(**options))


class EriDDIMSampler(io.ComfyNode):
    """Real DDIM / DDPM on epsilon, v and flow models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriDDIMSampler",
            category=SAMPLING_MENU,
            search_aliases=["ddim", "ddpm"],
            inputs=[
                io.Float.Input("eta", default=0.0, min=0.0, max=1.0, step=0.01, round=False),
                io.Boolean.Input("clip_sample", default=False),
                io.Float.Input("clip_range", default=1.0, min=0.01, max=100.0, step=0.01, round=False),
                io.Boolean.Input("use_clipped_model_output", default=False),
                io.Combo.Input("spacing", options=["auto", *DDIM_SPACINGS, LAST_FIRST], default="auto", optional=True),
                io.Int.Input("offset", default=1, min=0, max=999, optional=True),
            ],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    @guarded()
    def execute(cls, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(comfy.samplers.KSAMPLER(sample_ddim, options))


class EriTrainerSampler(io.ComfyNode):
    """The samplers that trainers take for SDXL from diffusers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTrainerSampler",
            category=SAMPLING_MENU,
            search_aliases=["diffusers", "scheduler", *ALGORITHMS],
            inputs=[
                io.Combo.Input("sampler", options=list(ALGORITHMS), default="euler"),
                io.Int.Input("steps", default=30, min=1, max=1000),
                io.Combo.Input("spacing", options=list(SPACINGS), default="linspace"),
                io.Int.Input("offset", default=0, min=0, max=999),
                io.Boolean.Input("karras", default=False),
                io.Boolean.Input("clip_sample", default=False),
                io.Combo.Input("noise", options=PROFILES, default=PROFILES[0]),
                io.Model.Input("model"),
                io.Float.Input("eta", default=1.0, min=0.0, max=MAX_ETA, step=0.01, round=False, optional=True),
                io.Float.Input("s_churn", default=0.0, min=0.0, max=MAX_CHURN, step=0.01, round=False, optional=True),
                io.Float.Input("s_tmin", default=0.0, min=0.0, max=1000.0, step=0.01, round=False, optional=True),
                io.Float.Input("s_tmax", default=1000.0, min=0.0, max=1000.0, step=0.01, round=False, optional=True),
                io.Float.Input("s_noise", default=1.0, min=0.0, max=MAX_NOISE, step=0.01, round=False, optional=True),
                io.Combo.Input("start", options=list(STARTS), default=STARTS[0], optional=True),
            ],
            outputs=[io.Sampler.Output(), io.Sigmas.Output()],
        )

    @classmethod
    def validate_inputs(cls, noise: str | None = None) -> bool | str:
        return problem_with(noise) or True

    @classmethod
    @guarded()
    def execute(cls, model: Any, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(*TrainerSampler(**options).build(model))


def sample_node_inputs() -> list[io.Input]:
    """The inputs of EriSample."""
    return [
        io.Float.Input("cfg", default=1.0, min=0.0, max=100.0, step=0.1, round=0.01),
        io.Model.Input("model"),
        io.Conditioning.Input("positive"),
        io.Conditioning.Input("negative", optional=True),
        io.Noise.Input("noise"),
        io.Sampler.Input("sampler"),
        io.Sigmas.Input("sigmas"),
        io.Latent.Input("latent"),
        io.Int.Input("batch_size", default=1, min=0, max=MAX_BATCH, optional=True),
    ]


class EriSample(io.ComfyNode):
    """Sampling through ComfyUI's guider. It takes lists whole, so that lists that do not fit are an error."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriSample",
            category=SAMPLING_MENU,
            search_aliases=["KSampler", "SamplerCustom"],
            is_input_list=True,
            inputs=sample_node_inputs(),
            outputs=[io.Latent.Output(is_output_list=True)],
        )

    @classmethod
    @guarded()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        say_sigmas(inputs["sigmas"])
        return io.NodeOutput(sample_inputs(inputs))


class EriTrainerModel(io.ComfyNode):
    """A MODEL that is run as a trainer's own code runs it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTrainerModel",
            category=SAMPLING_MENU,
            search_aliases=["attn2", "MMDiT-X", "sd-scripts", "kohya"],
            inputs=[
                io.Combo.Input("second_attention", options=list(SECOND_ATTENTION), default=PUBLISHED),
                io.Model.Input("model"),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    @guarded()
    def execute(cls, second_attention: str, model: Any) -> io.NodeOutput:
        return io.NodeOutput(trainers_model(model, second_attention))
