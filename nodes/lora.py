"""LoRA checkpoints of a training run."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ._host_lora import Choice, apply_step, find, fingerprint, list_runs
from ._schema import SPEC_MENU, schema

log = logging.getLogger(__name__)


class EriLoraAtStep(io.ComfyNode):
    """The LoRA of one training step; see `_host_lora.apply_step`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriLoraAtStep",
            display_name="LoRA at Step",
            category=SPEC_MENU,
            description="Loads the checkpoint of one training step from a run folder, whatever trainer wrote it, and "
            "says what matched. Stops with an error when nothing did. Step 0 is the model before training.",
            search_aliases=["LoraLoader", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "run",
                    options=list_runs(),
                    tooltip="Run folder or LoRA file below a loras folder (a file is taken whatever step says); "
                    "<folder>/<name> for one of several runs in a folder.",
                ),
                io.Int.Input(
                    "step", default=0, min=0, max=2**31 - 1, tooltip="Training step; 0 = no LoRA, where none was saved."
                ),
                io.Combo.Input(
                    "mode",
                    options=["exact", "nearest", "at_or_before", "latest"],
                    default="exact",
                    tooltip="exact: this step or an error. nearest, at_or_before: the saved step that fits. "
                    "latest: the newest, whatever step says.",
                ),
                io.Float.Input(
                    "strength_model",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Strength on the diffusion model; 1 = as trained.",
                ),
                io.Float.Input(
                    "strength_clip",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Strength on the text encoders; 1 = as trained.",
                ),
                io.Model.Input("model", tooltip="The model that was trained."),
                io.Clip.Input(
                    "clip", optional=True, tooltip="Its text encoders; may be left out if they were not trained."
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the LoRA."),
                io.Clip.Output(tooltip="The text encoders with the LoRA."),
                io.Int.Output(id="found_step", display_name="step", tooltip="The step that was loaded; -1 = unknown."),
                io.String.Output(id="report", display_name="report", tooltip="What was loaded and what was not."),
            ],
        )

    @classmethod
    def validate_inputs(cls, run: str | None = None, step: int | None = None, mode: str | None = None) -> bool | str:
        if run is None or step is None or mode is None:
            return True  # linked: known only when the node runs
        try:
            find(Choice(run, step, mode))
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, run: Any = None, step: Any = None, mode: Any = None, **_: Any) -> str:
        known = isinstance(run, str) and isinstance(step, int) and isinstance(mode, str)
        return fingerprint(Choice(run, step, mode)) if known else ""

    @classmethod
    def execute(
        cls, run: str, step: int, mode: str, strength_model: float, strength_clip: float, model: Any, clip: Any = None
    ) -> io.NodeOutput:
        result = apply_step(model, clip, Choice(run, step, mode), strength_model, strength_clip)
        log.info("EriLoraAtStep: %s", result[-1])
        return io.NodeOutput(*result)
