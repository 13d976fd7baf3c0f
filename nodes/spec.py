"""A training config on the canvas."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..families import FAMILIES
from ..host.schema import SPEC, SPEC_MENU, schema
from ..host.spec import SpecInputs, as_text, columns, fingerprint, load_spec
from ..trainers import LISTED

log = logging.getLogger(__name__)


class EriSampleSpec(io.ComfyNode):
    """Reads the samples of a training config; see `host.spec.load_spec`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriSampleSpec",
            display_name="Sample Spec",
            category=SPEC_MENU,
            description="Reads a training config (EriDiffusion, ai-toolkit, …) and gives its samples as lists, with "
            "every default filled in. The nodes after it run once per sample.",
            search_aliases=["config", "yaml", "prompts"],
            inputs=[
                io.String.Input(
                    "config",
                    multiline=True,
                    default="",
                    placeholder="Paste the training config here, or the name of a file in the input folder",
                    tooltip="The text of the config, or the name of a file in ComfyUI's input folder or a loras "
                    "folder.",
                ),
                io.Combo.Input(
                    "family",
                    options=["auto", *FAMILIES],
                    default="auto",
                    tooltip="The model family. Set it when the config does not name it or names a wrong one.",
                ),
                io.Combo.Input(
                    "trainer",
                    options=["auto", *LISTED],
                    default="auto",
                    tooltip="The trainer that the config belongs to. Set it when the content fits several trainers.",
                ),
                io.String.Input(
                    "trigger_word",
                    default="",
                    tooltip="Replaces [trigger] in the prompts when the config sets no trigger word.",
                ),
                io.String.Input(
                    "items",
                    default="",
                    tooltip='Takes only these samples, counted from 0, e.g. "0,2-4". When it is empty, all are taken.',
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        known = {key: value for key, value in inputs.items() if key in SpecInputs.__dataclass_fields__}
        return fingerprint(SpecInputs(**known)) if isinstance(known.get("config"), str) else ""

    @classmethod
    def execute(cls, config: str, family: str, trainer: str, trigger_word: str, items: str) -> io.NodeOutput:
        spec = load_spec(SpecInputs(config, family, trainer, trigger_word, items))
        report = as_text(spec)
        log.info("EriSampleSpec: %s", report)
        lists = columns(spec)
        second, third = lists.pop("prompt_2"), lists.pop("prompt_3")
        return io.NodeOutput(*lists.values(), spec, report, second, third)


def _outputs() -> list[io.Output]:
    def listed(kind: Any, name: str, tip: str) -> io.Output:
        return kind.Output(id=name, display_name=name, tooltip=f"{tip} One per sample.", is_output_list=True)

    return [
        listed(io.String, "prompt", "The prompt as it reaches the text encoders."),
        listed(io.String, "negative", "The negative prompt, empty when there is none."),
        listed(io.Int, "width", "Width in pixels, as the trainer rounds it."),
        listed(io.Int, "height", "Height in pixels, as the trainer rounds it."),
        listed(io.Int, "seed", "The seed. When the config leaves it to chance, this node draws it."),
        listed(io.Int, "steps", "The number of sampling steps."),
        listed(io.Float, "cfg", "True classifier-free guidance (CFG); 1 switches it off."),
        listed(io.Float, "guidance", "Flux's embedded guidance; 0 when the family has none."),
        listed(io.String, "name", "The name of the sample, for Save Samples."),
        SPEC.Output(id="spec", display_name="spec", tooltip="Everything that was read, for Save Samples."),
        io.String.Output(
            id="report", display_name="report", tooltip="Says what was read and which fields were not used."
        ),
        listed(io.String, "prompt_2", "The text for the second encoder; empty means the same text."),
        listed(io.String, "prompt_3", "The text for the third encoder; empty means the same text."),
    ]
