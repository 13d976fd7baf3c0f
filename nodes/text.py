"""Text to CONDITIONING."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.inputs import guarded, single
from ..host.schema import CONDITIONING_MENU, MAX_RESOLUTION, schema
from ..host.text.cache import INPUT, CacheSettings, needed, recall
from ..host.text.encode import PADDINGS, encode_inputs
from ..host.text.rules import LONG_PROMPTS, TEXT_RULES


class EriTripleTextEncode(io.ComfyNode):
    """One text-encode node for SD 3.5, Flux and SDXL; see `host.text.encode.encode`.

    It takes lists whole, so that lists that do not fit each other are an error and equal prompts are encoded once.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTripleTextEncode",
            category=CONDITIONING_MENU,
            search_aliases=[
                "encode prompt", "T5", "CLIPTextEncode", "CLIPTextEncodeFlux", "CLIPTextEncodeSD3",
                "CLIPTextEncodeSDXL",
            ],
            is_input_list=True,
            inputs=[
                io.String.Input("prompt", multiline=True, default=""),
                io.String.Input("prompt_2", multiline=True, default=""),
                io.String.Input("prompt_3", multiline=True, default=""),
                io.Int.Input("t5_length", default=0, min=0, max=4096),
                io.Boolean.Input("weighting", default=False, label_on="ComfyUI syntax", label_off="literal"),
                io.Combo.Input("empty", options=["encode", "zeros", "none"], default="encode"),
                io.Int.Input("width", default=1024, min=0, max=MAX_RESOLUTION),
                io.Int.Input("height", default=1024, min=0, max=MAX_RESOLUTION),
                io.Clip.Input("clip"),
                io.Combo.Input("long_prompt", options=list(LONG_PROMPTS), default="chunks", optional=True),
                io.Combo.Input("missing", options=["host", "zeros"], default="host", optional=True),
                io.Combo.Input("t5_padding", options=list(PADDINGS), default="all", optional=True),
                io.Combo.Input("text_rules", options=list(TEXT_RULES), default="plain", optional=True),
            ],
            outputs=[io.Conditioning.Output(is_output_list=True)],
        )

    @classmethod
    @guarded()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(encode_inputs(inputs))


class EriCacheConditioning(io.ComfyNode):
    """Prompt embeddings on disk; see `host.text.cache` and, for what makes two graphs equal, `host.text.cache_key`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriCacheConditioning",
            category=CONDITIONING_MENU,
            search_aliases=["embedding cache", "text encoder", "T5", "VRAM"],
            is_input_list=True,
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            inputs=[
                io.String.Input("key", default=""),
                io.Int.Input("size_limit_mb", default=4096, min=1, max=2**20),
                io.Combo.Input("mode", options=["use", "refresh", "off"], default="use"),
                io.Conditioning.Input(INPUT, lazy=True),
            ],
            outputs=[io.Conditioning.Output(is_output_list=True)],
        )

    @classmethod
    def check_lazy_status(cls, **inputs: Any) -> list[str]:
        return needed(cls.hidden, *_cache_inputs(inputs))

    @classmethod
    @guarded()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(recall(cls.hidden, *_cache_inputs(inputs)))


def _cache_inputs(inputs: dict[str, Any]) -> tuple[CacheSettings, list[Any]]:
    once = single({name: inputs[name] for name in ("size_limit_mb", "mode")})
    settings = CacheSettings(tuple(inputs["key"]), once["size_limit_mb"], once["mode"])
    return settings, list(inputs[INPUT])
