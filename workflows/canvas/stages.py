"""Which part of a graph a node belongs to, and where that part stands on the canvas; one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Stage:
    """A titled group. column counts from the left, row from the top within a column. colour: the group's frame and
    title in a dark theme; web/js/groups.js has what it becomes in a light one.

    upright: its nodes stand below one another, also those that feed each other. flat: none stands below another.
    """

    title: str
    column: int
    row: int
    colour: str
    upright: bool = False
    flat: bool = False


STAGES: Final[dict[str, Stage]] = {
    "models": Stage("Models", 0, 0, "#a8cfee"),
    "config": Stage("Training run", 0, 1, "#f0d070"),
    "image": Stage("Input", 0, 2, "#a8cfee"),
    "note": Stage("Notes", 0, 3, "#f0d070"),
    "lora": Stage("LoRA", 1, 0, "#eab0e6"),
    "prompts": Stage("Prompts", 2, 0, "#a0dcae"),
    "model": Stage("Trainer's model", 1, 1, "#eab0e6"),
    "box": Stage("Samples", 2, 0, "#a0dcae", flat=True),
    "noise": Stage("Noise and schedule", 3, 0, "#d0d0d0"),
    "sampling": Stage("Sampling", 4, 0, "#e8c898"),
    "output": Stage("Output", 4, 1, "#a8cfee", upright=True),
    "pictures": Stage("Pictures", 3, 0, "#a8cfee"),
    # of a graph of many samples, see layout.arrange_samples
    "shared": Stage("For all samples", 0, 0, "#a8cfee"),
    "sample": Stage("", 1, 0, "#a0dcae"),
}

#: Node class -> stage. A class that is not here belongs to "models" when nothing feeds it, else to "sampling".
_BY_CLASS: Final[dict[str, str]] = {
    "EriSampleSpec": "config",
    "EriLoraSteps": "config",
    "LoadImage": "image",
    "LoadLatent": "image",
    "EriControlImages": "image",
    "ImageScale": "image",
    "EriLoraAtStep": "lora",
    "EriMemoryPolicy": "model",
    "LoraLoader": "lora",
    "LoraLoaderModelOnly": "lora",
    "T5TokenizerOptions": "lora",
    "ModelSamplingDiscrete": "lora",
    "ModelSamplingFlux": "lora",
    "ModelSamplingSD3": "lora",
    "SkipLayerGuidanceSD3": "lora",
    "EriTrainerNoise": "noise",
    "EriFluxSchedule": "noise",
    "EriFlowSchedule": "noise",
    "EriFlowEulerSampler": "noise",
    "EriDDIMSampler": "noise",
    "EriTrainerSampler": "noise",
    "EmptyLatentImage": "noise",
    "EmptySD3LatentImage": "noise",
    "SplitSigmasDenoise": "noise",
    "VAEEncode": "noise",
    "RandomNoise": "noise",
    "KSamplerSelect": "noise",
    "PrimitiveStringMultiline": "noise",
    "EriDDIMSchedule": "noise",
    "BasicScheduler": "noise",
    "EriTripleTextEncode": "prompts",
    "EriCacheConditioning": "prompts",
    "CLIPTextEncode": "prompts",
    "CLIPTextEncodeFlux": "prompts",
    "CLIPTextEncodeSD3": "prompts",
    "CLIPTextEncodeSDXL": "prompts",
    "FluxGuidance": "prompts",
    "FluxDisableGuidance": "prompts",
    "ConditioningZeroOut": "prompts",
    "ReferenceLatent": "prompts",
    "EriTrainerModel": "model",
    "EriGuidance": "sampling",
    "EriSample": "sampling",
    "KSampler": "sampling",
    "SamplerCustomAdvanced": "sampling",
    "EriFluxPatchify": "sampling",
    "EriFluxUnpatchify": "sampling",
    "VAEDecode": "output",
    "SaveImage": "output",
    "SaveLatent": "output",
    "PreviewImage": "output",
    "EriSaveSamples": "output",
    "EriContactSheet": "output",
}

#: Nodes of a chain that stand beside the box with what its trainer does, and their stages there: the first that leave
#: the canvas small enough.
ALONE: Final[tuple[dict[str, str], ...]] = (
    {"EriLoraAtStep": "lora", "VAEDecode": "pictures", "EriSaveSamples": "pictures"},
    {"EriLoraAtStep": "lora"},
    {},
)
#: A box that holds one of these shows its pictures (web/js/boxes.js).
SAVER: Final = "EriSaveSamples"
#: What few people change stands inside; of that, the widgets that the box shows on its outside.
SHOWN: Final[dict[str, tuple[str, ...]]] = {
    "EriLoraAtStep": ("step", "mode"),
    "EriSampleSpec": ("config", "items"),
    "EriTripleTextEncode": ("prompt",),
    "EriTrainerNoise": ("seed", "profile"),
    "EriTrainerSampler": ("sampler",),
    "EriDDIMSampler": ("eta",),
    "EriFlowSchedule": ("shift",),
    "EriFluxSchedule": ("steps", "shift"),
}


def stage_of(class_type: str, *, fed: bool) -> str:
    """The stage of a node class. fed: whether another node's output reaches it."""
    return _BY_CLASS.get(class_type, "sampling" if fed else "models")
