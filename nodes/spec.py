"""A training config on the canvas."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..families import FAMILIES
from ..host.inputs import guarded
from ..host.schema import SPEC, SPEC_MENU, schema
from ..host.spec import SpecInputs, as_text, columns, fingerprint, load_spec
from ..trainers import LISTED, TRAINERS

log = logging.getLogger(__name__)


class EriSampleSpec(io.ComfyNode):
    """Reads the samples of a training config; see `host.spec.load_spec`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriSampleSpec",
            category=SPEC_MENU,
            search_aliases=[
                "config", "training config", "yaml", "toml", "prompts", "sample prompts", "training samples",
                *(trainer.title for trainer in TRAINERS.values()),
            ],
            inputs=[
                io.String.Input(
                    "config",
                    multiline=True,
                    default="",
                    placeholder="Paste the training config here, or the name of a file in the input folder",
                ),
                io.Combo.Input("family", options=["auto", *FAMILIES], default="auto"),
                io.Combo.Input("trainer", options=["auto", *LISTED], default="auto"),
                io.String.Input("trigger_word", default=""),
                io.String.Input("items", default=""),
            ],
            outputs=[
                *(_listed(io.String, name) for name in ("prompt", "negative")),
                *(_listed(io.Int, name) for name in ("width", "height", "seed", "steps")),
                *(_listed(io.Float, name) for name in ("cfg", "guidance")),
                _listed(io.String, "name"),
                SPEC.Output(id="spec", display_name="spec"),
                io.String.Output(id="report", display_name="report"),
                *(_listed(io.String, name) for name in ("prompt_2", "prompt_3")),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        known = {key: value for key, value in inputs.items() if key in SpecInputs.__dataclass_fields__}
        return fingerprint(SpecInputs(**known)) if isinstance(known.get("config"), str) else ""

    @classmethod
    @guarded()
    def execute(cls, config: str, family: str, trainer: str, trigger_word: str, items: str) -> io.NodeOutput:
        spec = load_spec(SpecInputs(config, family, trainer, trigger_word, items))
        report = as_text(spec)
        log.info("EriSampleSpec: %s", report)
        lists = columns(spec)
        second, third = lists.pop("prompt_2"), lists.pop("prompt_3")
        return io.NodeOutput(*lists.values(), spec, report, second, third)


def _listed(kind: Any, name: str) -> io.Output:
    return kind.Output(id=name, display_name=name, is_output_list=True)
