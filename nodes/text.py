"""Text to CONDITIONING."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.ranges import in_range
from ..host.rows import single
from ..host.schema import CONDITIONING_MENU, MAX_RESOLUTION, schema
from ..host.text.cache import INPUT, CacheSettings, needed, recall
from ..host.text.encode import encode_inputs
from ..host.text.padding import PADDINGS


class EriTripleTextEncode(io.ComfyNode):
    """One text-encode node for SD 3.5, Flux and SDXL; see `host.text.encode.encode`.

    It takes lists whole, so that lists that do not fit each other are an error and equal prompts are encoded once.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTripleTextEncode",
            display_name="Triple Text Encode",
            category=CONDITIONING_MENU,
            description="Encodes a prompt for SD 3.5 (CLIP-L, CLIP-G, T5), Flux (CLIP-L, T5), SDXL (CLIP-L, CLIP-G, "
            "size ids) or Chroma (T5) exactly as a trainer does, with literal text and exact token lengths. With "
            "weighting on and T5 length 0 it equals ComfyUI's own nodes bit for bit.",
            search_aliases=["CLIPTextEncode", "CLIPTextEncodeFlux", "CLIPTextEncodeSD3", "CLIPTextEncodeSDXL", "T5"],
            is_input_list=True,
            inputs=[
                *_prompts(),
                *_settings(),
                io.Clip.Input(
                    "clip", tooltip="The text encoders. SD 3.5 also works when some of its three are missing."
                ),
                *_special_cases(),
            ],
            outputs=[
                io.Conditioning.Output(
                    is_output_list=True,
                    tooltip="The encoded prompt, one per entry of the inputs. For Flux, put FluxGuidance after it.",
                )
            ],
        )

    @classmethod
    @in_range()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(encode_inputs(inputs))


class EriCacheConditioning(io.ComfyNode):
    """Prompt embeddings on disk; see `host.text.cache` and, for what makes two graphs equal, `host.text.cache_key`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriCacheConditioning",
            display_name="Cache Conditioning",
            category=CONDITIONING_MENU,
            description="Keeps conditionings on disk. When the same text encoders, LoRAs, prompts and settings come "
            "again, also after a restart, no node before this one runs and no text encoder is loaded.",
            search_aliases=["embedding cache", "text encoder", "T5", "VRAM"],
            is_input_list=True,
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "key",
                    default="",
                    tooltip="A text that becomes part of the entry's key, beside the graph before this node. You "
                    "need it only for things that the graph does not name, such as a file that a custom node reads "
                    "by itself.",
                ),
                io.Int.Input(
                    "size_limit_mb",
                    default=4096,
                    min=1,
                    max=2**20,
                    tooltip="The largest size of the cache folder in megabytes. The least recently used entries are "
                    "deleted first. A Flux prompt of 512 tokens takes 8 MB.",
                ),
                io.Combo.Input(
                    "mode",
                    options=["use", "refresh", "off"],
                    default="use",
                    tooltip="use: reads the cache and stores what is not in it. refresh: computes and stores again. "
                    "off: passes the conditioning through.",
                ),
                io.Conditioning.Input(
                    INPUT,
                    lazy=True,
                    tooltip="The conditioning of the text-encode node or of a node after it. It is computed only "
                    "when it is needed.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    is_output_list=True, tooltip="The same conditioning, read from disk or computed."
                )
            ],
        )

    @classmethod
    def check_lazy_status(cls, **inputs: Any) -> list[str]:
        return needed(cls.hidden, *_cache_inputs(inputs))

    @classmethod
    @in_range()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(recall(cls.hidden, *_cache_inputs(inputs)))


def _cache_inputs(inputs: dict[str, Any]) -> tuple[CacheSettings, list[Any]]:
    once = single({name: inputs[name] for name in ("size_limit_mb", "mode")})
    settings = CacheSettings(tuple(inputs["key"]), once["size_limit_mb"], once["mode"])
    return settings, list(inputs[INPUT])


def _settings() -> list[io.Input]:
    """What decides how prompts become tokens."""
    return [
        io.Int.Input(
            "t5_length",
            default=0,
            min=0,
            max=4096,
            tooltip="The exact number of T5 tokens; the prompt is padded or cut to it. 0 follows ComfyUI's rule (at "
            "least 77, for Flux 256). Trainers use 512 for Flux dev, 256 for schnell, and 77, 154 or 256 for SD 3.5. "
            "It has no effect without a T5.",
        ),
        io.Boolean.Input(
            "weighting",
            default=False,
            label_on="ComfyUI syntax",
            label_off="literal",
            tooltip="Off: (word:1.2) and embedding:name are plain text, as in nearly every trainer. "
            "On: they act as in ComfyUI.",
        ),
        io.Combo.Input(
            "empty",
            options=["encode", "zeros", "none"],
            default="encode",
            tooltip="What an empty prompt becomes. encode: what the encoders give for an empty text. zeros: all "
            "zeros, when every prompt is empty (diffusers' SDXL pipeline, some trainers). none: no tokens for that "
            "encoder (only SD 3.5, like CLIPTextEncodeSD3's empty_padding).",
        ),
        io.Int.Input(
            "width",
            default=1024,
            min=0,
            max=MAX_RESOLUTION,
            tooltip="The image's width in pixels, for SDXL's size ids and for t5_padding weighted. Nothing else uses "
            "it.",
        ),
        io.Int.Input(
            "height",
            default=1024,
            min=0,
            max=MAX_RESOLUTION,
            tooltip="The image's height in pixels, for SDXL's size ids and for t5_padding weighted. Nothing else uses "
            "it.",
        ),
    ]


def _special_cases() -> list[io.Input]:
    """Added later than the rest: long prompts, and encoders that are not loaded."""
    return [
        io.Combo.Input(
            "long_prompt",
            options=["chunks", "truncate"],
            default="chunks",
            optional=True,
            tooltip="What happens to more than 77 CLIP tokens. chunks: they go into further chunks, as in ComfyUI. "
            "truncate: they are cut off, as in most trainers.",
        ),
        io.Combo.Input(
            "missing",
            options=["host", "zeros"],
            default="host",
            optional=True,
            tooltip="What SD 3.5 gets for text encoders that are not loaded. host: as ComfyUI does, zeros for one "
            "missing CLIP, and no tokens for a missing T5 or two missing CLIPs. zeros: zero tokens for these too, as "
            "in diffusers.",
        ),
        io.Combo.Input(
            "t5_padding",
            options=list(PADDINGS),
            default="all",
            optional=True,
            tooltip="What is seen of the padding behind Chroma's prompts; 'all' in other families. all: T5 sees it and "
            "the model gets it (EriDiffusion). Else the model gets one padding token, and T5 sees: one = this one "
            "(OneTrainer); one unseen = none (kohya); one of all = t5_length of them (ai-toolkit). weighted: the "
            "model gets all, with lower scores (SimpleTuner).",
        ),
    ]


def _prompts() -> list[io.Input]:
    same = "Empty means the same as prompt; a single space means an empty text."
    return [
        io.String.Input(
            "prompt",
            multiline=True,
            default="",
            tooltip="The text for the first encoder (CLIP-L) and for those that have no text of their own.",
        ),
        io.String.Input(
            "prompt_2",
            multiline=True,
            default="",
            tooltip=f"The text for the second encoder: CLIP-G (SD 3.5, SDXL) or T5 (Flux). {same}",
        ),
        io.String.Input(
            "prompt_3", multiline=True, default="", tooltip=f"The text for the third encoder: T5 (SD 3.5). {same}"
        ),
    ]
