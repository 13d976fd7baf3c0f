"""SIGMAS as the trainers space them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.ranges import in_range
from ..host.sampling.schedules import ddim_schedule, flow_schedule, flux_schedule
from ..host.schema import MAX_RESOLUTION, SAMPLING_MENU, schema

_OUTPUT_TIP = "Noise levels from high to low, one more than steps."
_STEPS_TIP = "Number of sampling steps."


def _denoise() -> io.Float.Input:
    return io.Float.Input(
        "denoise",
        default=1.0,
        min=0.01,
        max=1.0,
        step=0.01,
        optional=True,
        tooltip="Image to image: how much of the schedule to run. 1 = all of it, for an empty latent; 0.6 keeps the "
        "composition of the latent. The number of steps stays, as in BasicScheduler.",
    )


class EriFluxSchedule(io.ComfyNode):
    """BFL's resolution-dependent Flux schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxSchedule",
            display_name="Flux Schedule",
            category=SAMPLING_MENU,
            description="Flux sigmas as in Black Forest Labs' code: shifted by the number of image tokens, exact at "
            "every size. Switch shifted off for schnell.",
            search_aliases=["flux", "ModelSamplingFlux", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip=_STEPS_TIP),
                io.Int.Input("width", default=1024, min=16, max=MAX_RESOLUTION, tooltip="Image width in pixels."),
                io.Int.Input("height", default=1024, min=16, max=MAX_RESOLUTION, tooltip="Image height in pixels."),
                io.Float.Input(
                    "base_shift",
                    default=0.5,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="Shift (mu) at 256 image tokens, i.e. 256 x 256 pixels.",
                ),
                io.Float.Input(
                    "max_shift",
                    default=1.15,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="Shift (mu) at 4096 image tokens, i.e. 1024 x 1024 pixels.",
                ),
                io.Boolean.Input(
                    "shifted", default=True, tooltip="On for Flux dev; off for schnell, whose sigmas fall evenly."
                ),
                _denoise(),
                io.Combo.Input(
                    "spacing",
                    options=["linear", "timesteps"],
                    default="linear",
                    optional=True,
                    tooltip="Before the shift: 'linear' = evenly from 1 to 0, as nearly all trainers do; 'timesteps' = "
                    "evenly from 1 to 0.001, then 0 (OneTrainer).",
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
            description="Shifted flow-matching sigmas (SD 3.5), in the spacing of the trainer: 'timesteps' (Stability, "
            "diffusers, ai-toolkit, ComfyUI normal), 'linear' (EriDiffusion), 'cosine', 'simple' (ComfyUI).",
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
                    tooltip="sigma = shift * t / (1 + (shift - 1) * t). 3 for SD 3.5, 1 = no shift.",
                ),
                io.Combo.Input(
                    "spacing",
                    options=["timesteps", "linear", "cosine", "simple"],
                    default="timesteps",
                    tooltip="How t is spaced before the shift.",
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
            description="diffusers' DDIM timesteps for SDXL, as sigmas of the connected model. With EriDDIMSampler the "
            "result is diffusers' own, for every spacing.",
            search_aliases=["ddim", "sdxl", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=30, min=1, max=1000, tooltip=_STEPS_TIP),
                io.Combo.Input(
                    "spacing",
                    options=["leading", "trailing", "linspace"],
                    default="leading",
                    tooltip="diffusers' timestep_spacing. SDXL: leading.",
                ),
                io.Int.Input(
                    "offset",
                    default=1,
                    min=0,
                    max=999,
                    tooltip="diffusers' steps_offset, for leading. SDXL: 1; ai-toolkit and kohya: 0.",
                ),
                io.Boolean.Input(
                    "zero_terminal_snr",
                    default=False,
                    tooltip="Rescale the noise table so that the last timestep is pure noise (v-prediction models "
                    "trained so). The model itself need not be patched.",
                ),
                io.Combo.Input(
                    "final_alpha",
                    options=["alpha[0]", "1"],
                    default="alpha[0]",
                    tooltip="Where the last step lands: alpha[0] (set_alpha_to_one off, SDXL) or 1 (no noise left).",
                ),
                io.Model.Input("model", tooltip="An epsilon or v model (SDXL); its noise table gives the sigmas."),
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
