"""LoRA checkpoints of a training run."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..host.lora.apply import Use, apply_step
from ..host.lora.runs import Choice, find, fingerprint, fingerprint_run, list_runs, steps_of
from ..host.ranges import in_range
from ..host.schema import SPEC_MENU, schema

log = logging.getLogger(__name__)

_RUN_PLACES = "below a loras folder or below a folder that extra_model_paths.yaml lists under eri_runs"


def _number(id: str, default: float, low: float, high: float, tooltip: str, **more: Any) -> io.Float.Input:
    return io.Float.Input(id, default=default, min=low, max=high, tooltip=tooltip, **{"step": 0.01, **more})


#: Inputs that came after the first release.
_LATER = (
    _number(
        "start", 0.0, 0.0, 1.0, "The part of the denoising at which the LoRA begins to act; 0 is the beginning.",
        optional=True,
    ),
    _number(
        "end", 1.0, 0.0, 1.0, "The part of the denoising at which the LoRA stops acting; 1 is the end.", optional=True
    ),
    _number(
        "wait", 30.0, 0.0, 3600.0,
        "How many seconds to wait for a checkpoint that is still being written. 0 stops with an error.",
        optional=True, step=1.0,
    ),
)  # fmt: skip


class EriLoraAtStep(io.ComfyNode):
    """The LoRA of one training step; see `host.lora.apply.apply_step`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriLoraAtStep",
            display_name="LoRA at Step",
            category=SPEC_MENU,
            description="Loads the checkpoint of one training step from a run folder, whichever trainer wrote it, "
            "and reports what matched. It stops with an error when nothing matched. Step 0 is the model before "
            "training.",
            search_aliases=["LoraLoader", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "run",
                    options=list_runs(),
                    tooltip=f"A run folder or a LoRA file {_RUN_PLACES}. A file is loaded whatever step says. "
                    "<folder>/<name> is one of several runs in a folder.",
                ),
                io.Int.Input(
                    "step",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    tooltip="The training step. 0 loads no LoRA, unless the run saved a step 0.",
                ),
                io.Combo.Input(
                    "mode",
                    options=["exact", "nearest", "at_or_before", "latest"],
                    default="exact",
                    tooltip="exact: takes this step or stops with an error. nearest, at_or_before: takes the saved "
                    "step that fits. latest: takes the newest one, whatever step says.",
                ),
                _number(
                    "strength_model", 1.0, -100.0, 100.0, "The LoRA's strength on the diffusion model; 1 is as trained."
                ),
                _number(
                    "strength_clip", 1.0, -100.0, 100.0, "The LoRA's strength on the text encoders; 1 is as trained."
                ),
                io.Model.Input("model", tooltip="The model that was trained."),
                io.Clip.Input(
                    "clip", optional=True, tooltip="Its text encoders. They may be left out if they were not trained."
                ),
                *_LATER,
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the LoRA."),
                io.Clip.Output(tooltip="The text encoders with the LoRA."),
                io.Int.Output(
                    id="found_step",
                    display_name="step",
                    tooltip="The training step that was loaded; -1 means that it is unknown.",
                ),
                io.String.Output(id="report", display_name="report", tooltip="Says what was loaded and what was not."),
                io.String.Output(
                    id="details",
                    display_name="details",
                    tooltip="The report as JSON. When it is linked to Save Samples, it goes into the files' metadata.",
                ),
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
    @in_range(but=("start", "end"))
    def execute(
        cls, run: str, step: int, mode: str, strength_model: float, strength_clip: float, model: Any, clip: Any = None,
        start: float = 0.0, end: float = 1.0, wait: float = 30.0,
    ) -> io.NodeOutput:  # fmt: skip
        use = Use(strength_model, strength_clip, start, end, wait)
        result = apply_step(model, clip, Choice(run, step, mode), use)
        log.info("EriLoraAtStep: %s", result.report)
        return io.NodeOutput(*result, ui={"text": [result.report]})


class EriLoraSteps(io.ComfyNode):
    """The training steps of a run as a list; see `lora.step_lists`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriLoraSteps",
            display_name="LoRA Steps",
            category=SPEC_MENU,
            description="Lists the training steps that a run saved. When it is linked to LoRA at Step, everything "
            "after it runs once per training step, so one graph makes a sweep.",
            search_aliases=["sweep", "xy plot"],
            inputs=[
                io.Combo.Input("run", options=list_runs(), tooltip=f"A run folder {_RUN_PLACES}."),
                io.String.Input(
                    "steps",
                    default="all",
                    tooltip="Write all, or steps like 0, 250, 500, or ranges like 250-1000, 500- or -500. 0 is the "
                    "model before training.",
                ),
                io.Int.Input(
                    "at_most",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Takes at most this many steps, spread evenly, with the first and the last. 0 takes all "
                    "of them.",
                ),
            ],
            outputs=[
                io.Int.Output(
                    id="steps_list", display_name="step", is_output_list=True, tooltip="One entry per training step."
                ),
                io.String.Output(
                    id="labels",
                    display_name="label",
                    is_output_list=True,
                    tooltip="One column label per training step, for Contact Sheet.",
                ),
                io.String.Output(
                    id="report",
                    display_name="report",
                    tooltip="Says how many steps there are and which checkpoints have no known step.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, run: str | None = None, steps: str | None = None) -> bool | str:
        if run is None or steps is None:
            return True  # linked: known only when the node runs
        try:
            steps_of(run, steps, 0)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, run: Any = None, **_: Any) -> str:
        return fingerprint_run(run) if isinstance(run, str) else ""

    @classmethod
    @in_range()
    def execute(cls, run: str, steps: str, at_most: int) -> io.NodeOutput:
        chosen, unknown = steps_of(run, steps, at_most)
        labels = [f"step {step}" if step else "no LoRA" for step in chosen]
        report = f"{run}: {len(chosen)} steps: {', '.join(map(str, chosen))}"
        for entry in unknown:
            report += f"\nnot listed, of unknown step: {entry.path.name} (LoRA at Step reaches it with mode latest)"
        return io.NodeOutput(chosen, labels, report, ui={"text": [report]})
