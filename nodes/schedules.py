"""SIGMAS as the trainers space them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.ranges import in_range
from ..host.sampling.schedules import ddim_schedule, flow_schedule, flux_schedule
from ..host.schema import MAX_RESOLUTION, SAMPLING_MENU, schema
from ..samplers.schedules import SPACINGS

_OUTPUT_TIP = "The noise levels from high to low, one more than there are steps."
_STEPS_TIP = "The number of sampling steps."


def _denoise() -> io.Float.Input:
    return io.Float.Input(
        "denoise",
        default=1.0,
        min=0.01,
        max=1.0,
        step=0.01,
        optional=True,
        tooltip="For image to image: how much of the schedule runs. 1 runs all of it, for an empty latent; 0.6 keeps "
        "the composition of the latent. The number of steps stays the same, as in BasicScheduler.",
    )


class EriFluxSchedule(io.ComfyNode):
    """BFL's resolution-dependent Flux schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxSchedule",
            display_name="Flux Schedule",
            category=SAMPLING_MENU,
            description="Gives Flux's sigmas as in Black Forest Labs' code: they are shifted by the number of image "
            "tokens and exact at every size. Switch shifted off for schnell.",
            search_aliases=["flux", "ModelSamplingFlux", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip=_STEPS_TIP),
                io.Int.Input("width", default=1024, min=16, max=MAX_RESOLUTION, tooltip="The image's width in pixels."),
                io.Int.Input(
                    "height", default=1024, min=16, max=MAX_RESOLUTION, tooltip="The image's height in pixels."
                ),
                io.Float.Input(
                    "base_shift",
                    default=0.5,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="The shift (mu) at 256 image tokens, that is 256 x 256 pixels.",
                ),
                io.Float.Input(
                    "max_shift",
                    default=1.15,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="The shift (mu) at 4096 image tokens, that is 1024 x 1024 pixels.",
                ),
                io.Boolean.Input(
                    "shifted",
                    default=True,
                    tooltip="Switch it on for Flux dev, and off for schnell, whose sigmas fall evenly.",
                ),
                _denoise(),
                io.Combo.Input(
                    "spacing",
                    options=["linear", "timesteps"],
                    default="linear",
                    optional=True,
                    tooltip="How the sigmas are spaced before the shift. linear: evenly from 1 to 0, as in nearly "
                    "all trainers. timesteps: evenly from 1 to 0.001, then 0 (OneTrainer).",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip=_OUTPUT_TIP)],
        )

    @classmethod
    @in_range(but=("denoise",))
    def execute(
        cls,
        steps: int,
        width: int,
        height: int,
        base_shift: float,
        max_shift: float,
        shifted: bool,
        denoise: float = 1.0,
        spacing: str = "linear",
    ) -> io.NodeOutput:
        return io.NodeOutput(flux_schedule(steps, width, height, base_shift, max_shift, shifted, denoise, spacing))


class EriFlowSchedule(io.ComfyNode):
    """SD 3.5 sigmas as each trainer spaces them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFlowSchedule",
            display_name="Flow Schedule",
            category=SAMPLING_MENU,
            description="Gives shifted flow-matching sigmas (SD 3.5, Chroma), spaced as the trainer spaces them: "
            "'timesteps' (Stability, diffusers, ai-toolkit, ComfyUI normal), 'linear' (EriDiffusion), 'cosine', "
            "'simple' (ComfyUI), 'beta' (diffusers' beta sigmas).",
            search_aliases=["sd3", "ModelSamplingSD3", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=28, min=1, max=10000, tooltip=_STEPS_TIP),
                io.Float.Input(
                    "shift",
                    default=3.0,
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    round=False,
                    tooltip="The shift in sigma = shift * t / (1 + (shift - 1) * t). SD 3.5 uses 3; 1 does not shift.",
                ),
                io.Combo.Input(
                    "spacing",
                    options=list(SPACINGS),
                    default="timesteps",
                    tooltip="How t is spaced before the shift. 'beta' spaces the shifted sigmas of 'linear' anew, "
                    "'beta timesteps' those of 'timesteps' (Chroma1-Base).",
                ),
                _denoise(),
            ],
            outputs=[io.Sigmas.Output(tooltip=_OUTPUT_TIP)],
        )

    @classmethod
    @in_range(but=("denoise",))
    def execute(cls, steps: int, shift: float, spacing: str, denoise: float = 1.0) -> io.NodeOutput:
        return io.NodeOutput(flow_schedule(steps, shift, spacing, denoise))


class EriDDIMSchedule(io.ComfyNode):
    """Exact DDIM timesteps on the model's own noise table."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriDDIMSchedule",
            display_name="DDIM Schedule",
            category=SAMPLING_MENU,
            description="Gives diffusers' DDIM timesteps for SDXL as sigmas of the connected model. Together with "
            "DDIM Sampler the result equals diffusers' for every spacing.",
            search_aliases=["ddim", "sdxl", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=30, min=1, max=1000, tooltip=_STEPS_TIP),
                io.Combo.Input(
                    "spacing",
                    options=["leading", "trailing", "linspace"],
                    default="leading",
                    tooltip="The timestep_spacing of diffusers. SDXL uses leading.",
                ),
                io.Int.Input(
                    "offset",
                    default=1,
                    min=0,
                    max=999,
                    tooltip="The steps_offset of diffusers, for leading. SDXL uses 1; ai-toolkit and kohya use 0.",
                ),
                io.Boolean.Input(
                    "zero_terminal_snr",
                    default=False,
                    tooltip="Rescales the noise table so that the last timestep is pure noise, for v-prediction "
                    "models that were trained in this way. The model itself need not be patched.",
                ),
                io.Combo.Input(
                    "final_alpha",
                    options=["alpha[0]", "1"],
                    default="alpha[0]",
                    tooltip="Where the last step ends: at alpha[0] (set_alpha_to_one off, SDXL) or at 1 (no noise "
                    "left).",
                ),
                io.Model.Input("model", tooltip="An epsilon or v model (SDXL). The sigmas come from its noise table."),
                _denoise(),
            ],
            outputs=[io.Sigmas.Output(tooltip=_OUTPUT_TIP)],
        )

    @classmethod
    @in_range(but=("denoise",))
    def execute(
        cls,
        steps: int,
        spacing: str,
        offset: int,
        zero_terminal_snr: bool,
        final_alpha: str,
        model: Any,
        denoise: float = 1.0,
    ) -> io.NodeOutput:
        return io.NodeOutput(ddim_schedule(model, steps, spacing, offset, zero_terminal_snr, final_alpha, denoise))
