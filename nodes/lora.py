"""LoRA checkpoints of a training run."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..host.inputs import guarded
from ..host.lora.apply import Use, apply_step
from ..host.lora.placing import APPLY, BESIDE
from ..host.lora.runs import NO_RUNS, Choice, find, fingerprint, fingerprint_run, list_runs, steps_of, strengths_of
from ..host.paths import without_folders
from ..host.schema import SPEC_MENU, schema

log = logging.getLogger(__name__)


class EriLoraAtStep(io.ComfyNode):
    """The LoRA of one training step; see `host.lora.apply.apply_step`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriLoraAtStep",
            category=SPEC_MENU,
            search_aliases=[
                "LoraLoader", "load lora", "lora loader", "checkpoint", "checkpoint step", "training step",
            ],
            inputs=[
                io.Combo.Input("run", options=list_runs() or [NO_RUNS]),
                io.Int.Input("step", default=0, min=0, max=2**31 - 1),
                io.Combo.Input("mode", options=["exact", "nearest", "at_or_before", "latest"], default="latest"),
                io.Float.Input("strength_model", default=1.0, min=-100.0, max=100.0, step=0.01),
                io.Float.Input("strength_clip", default=1.0, min=-100.0, max=100.0, step=0.01),
                io.Model.Input("model"),
                io.Clip.Input("clip", optional=True),
                io.Float.Input("start", default=0.0, min=0.0, max=1.0, step=0.01, optional=True),
                io.Float.Input("end", default=1.0, min=0.0, max=1.0, step=0.01, optional=True),
                io.Float.Input("wait", default=30.0, min=0.0, max=3600.0, step=1.0, optional=True),
                io.Combo.Input("apply", options=list(APPLY), default=BESIDE, optional=True),
                io.Float.Input("scale", default=-1.0, min=-1.0, max=100.0, step=0.0001, round=False, optional=True),
            ],
            outputs=[
                io.Model.Output(),
                io.Clip.Output(),
                io.Int.Output(id="found_step", display_name="step"),
                io.String.Output(id="report", display_name="report"),
                io.String.Output(id="details", display_name="details"),
            ],
        )

    @classmethod
    def validate_inputs(cls, run: str | None = None, step: int | None = None, mode: str | None = None) -> bool | str:
        if run is None or step is None or mode is None:
            return True  # linked: known only when the node runs
        try:
            find(Choice(run, step, mode))
        except ValueError as error:
            return without_folders(str(error))
        return True

    @classmethod
    def fingerprint_inputs(cls, run: Any = None, step: Any = None, mode: Any = None, **_: Any) -> str:
        known = isinstance(run, str) and isinstance(step, int) and isinstance(mode, str)
        return fingerprint(Choice(run, step, mode)) if known else ""

    @classmethod
    @guarded(but=("start", "end"))
    def execute(
        cls, run: str, step: int, mode: str, strength_model: float, strength_clip: float, model: Any, clip: Any = None,
        start: float = 0.0, end: float = 1.0, wait: float = 30.0, apply: str = BESIDE, scale: float = -1.0,
    ) -> io.NodeOutput:  # fmt: skip
        use = Use(strength_model, strength_clip, start, end, wait, apply, scale)
        result = apply_step(model, clip, Choice(run, step, mode), use)
        log.info("EriLoraAtStep: %s", result.report)
        return io.NodeOutput(*result, ui={"text": [result.report]})


class EriLoraSteps(io.ComfyNode):
    """The training steps of a run as a list; see `lora.step_lists`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriLoraSteps",
            category=SPEC_MENU,
            search_aliases=["sweep", "xy plot", "compare lora", "compare checkpoints", "checkpoint steps"],
            inputs=[
                io.Combo.Input("run", options=list_runs() or [NO_RUNS]),
                io.String.Input("steps", default="all"),
                io.Int.Input("at_most", default=0, min=0, max=1000),
                io.String.Input("strengths", default="1.0", optional=True),
            ],
            outputs=[
                io.Int.Output(id="steps_list", display_name="step", is_output_list=True),
                io.String.Output(id="labels", display_name="label", is_output_list=True),
                io.String.Output(id="report", display_name="report"),
                io.Float.Output(id="strengths_list", display_name="strength", is_output_list=True),
                io.String.Output(id="strength_labels", display_name="strength_label", is_output_list=True),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, run: str | None = None, steps: str | None = None, strengths: str | None = None
    ) -> bool | str:
        try:
            if strengths is not None:
                strengths_of(strengths)
            if run is not None and steps is not None:  # None is linked: known only when the node runs
                steps_of(run, steps, 0)
        except ValueError as error:
            return without_folders(str(error))
        return True

    @classmethod
    def fingerprint_inputs(cls, run: Any = None, **_: Any) -> str:
        return fingerprint_run(run) if isinstance(run, str) else ""

    @classmethod
    @guarded()
    def execute(cls, run: str, steps: str, at_most: int, strengths: str = "1.0") -> io.NodeOutput:
        chosen, unknown = steps_of(run, steps, at_most)
        rows = strengths_of(strengths)
        labels = [f"step {step}" if step else "no LoRA" for step in chosen]
        report = f"{run}: {len(chosen)} steps: {', '.join(map(str, chosen))}"
        for entry in unknown:
            report += f"\nnot listed, of unknown step: {entry.path.name} (LoRA at Step reaches it with mode latest)"
        each = [strength for strength in rows for _ in chosen]
        shown = [f"strength {strength:g}" for strength in rows]
        return io.NodeOutput(chosen * len(rows), labels, report, each, shown, ui={"text": [report]})
