"""SIGMAS as the trainers space them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.inputs import guarded
from ..host.sampling.schedules import ddim_schedule, flow_schedule, flux_schedule
from ..host.schema import MAX_RESOLUTION, SAMPLING_MENU, schema
from ..samplers.schedules import DDIM_SPACINGS, LAST_FIRST, SPACINGS


def _denoise() -> io.Float.Input:
    return io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01, optional=True)


class EriFluxSchedule(io.ComfyNode):
    """BFL's resolution-dependent Flux schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxSchedule",
            category=SAMPLING_MENU,
            search_aliases=["flux", "ModelSamplingFlux", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=20, min=1, max=10000),
                io.Int.Input("width", default=1024, min=16, max=MAX_RESOLUTION),
                io.Int.Input("height", default=1024, min=16, max=MAX_RESOLUTION),
                io.Float.Input("base_shift", default=0.5, min=-10.0, max=10.0, step=0.01, round=False),
                io.Float.Input("max_shift", default=1.15, min=-10.0, max=10.0, step=0.01, round=False),
                io.Boolean.Input("shifted", default=True),
                _denoise(),
                io.Combo.Input("spacing", options=["linear", "timesteps"], default="linear", optional=True),
                io.Float.Input("shift", default=0.0, min=0.0, max=100.0, step=0.01, round=False, optional=True),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    @guarded(but=("denoise",))
    def execute(cls, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(flux_schedule(**options))


class EriFlowSchedule(io.ComfyNode):
    """SD 3.5 sigmas as each trainer spaces them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFlowSchedule",
            category=SAMPLING_MENU,
            search_aliases=["sd3", "ModelSamplingSD3", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=28, min=1, max=10000),
                io.Float.Input("shift", default=3.0, min=0.01, max=100.0, step=0.01, round=False),
                io.Combo.Input("spacing", options=list(SPACINGS), default="timesteps"),
                _denoise(),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    @guarded(but=("denoise",))
    def execute(cls, steps: int, shift: float, spacing: str, denoise: float = 1.0) -> io.NodeOutput:
        return io.NodeOutput(flow_schedule(steps, shift, spacing, denoise))


class EriDDIMSchedule(io.ComfyNode):
    """Exact DDIM timesteps on the model's own noise table."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriDDIMSchedule",
            category=SAMPLING_MENU,
            search_aliases=["ddim", "sdxl", "scheduler"],
            inputs=[
                io.Int.Input("steps", default=30, min=1, max=1000),
                io.Combo.Input("spacing", options=[*DDIM_SPACINGS, LAST_FIRST], default="leading"),
                io.Int.Input("offset", default=1, min=0, max=999),
                io.Boolean.Input("zero_terminal_snr", default=False),
                io.Combo.Input("final_alpha", options=["alpha[0]", "1"], default="alpha[0]"),
                io.Model.Input("model"),
                _denoise(),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    @guarded(but=("denoise",))
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
