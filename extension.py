"""What ComfyUI loads of the pack: its nodes, and the routes for trainers."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .host.http.register import register
from .nodes.each import EriEachList, EriEachSample, EriEachSave, EriEachShow
from .nodes.flux import EriControlImages, EriFluxPatchify, EriFluxUnpatchify
from .nodes.guidance import EriGuidance
from .nodes.lora import EriLoraAtStep, EriLoraSteps
from .nodes.memory import EriMemoryPolicy
from .nodes.noise import EriTrainerNoise
from .nodes.output import EriContactSheet, EriImageEmbedding, EriSaveSamples
from .nodes.sampling import EriDDIMSampler, EriFlowEulerSampler, EriSample, EriTrainerModel, EriTrainerSampler
from .nodes.schedules import EriDDIMSchedule, EriFlowSchedule, EriFluxSchedule
from .nodes.spec import EriSampleSpec
from .nodes.text import EriCacheConditioning, EriTripleTextEncode

#: Every node of the pack, in menu order.
NODES: list[type[io.ComfyNode]] = [
    EriSampleSpec,
    EriControlImages,
    EriLoraAtStep,
    EriLoraSteps,
    EriTripleTextEncode,
    EriCacheConditioning,
    EriTrainerNoise,
    EriFluxSchedule,
    EriFlowSchedule,
    EriDDIMSchedule,
    EriFlowEulerSampler,
    EriDDIMSampler,
    EriTrainerSampler,
    EriTrainerModel,
    EriGuidance,
    EriSample,
    EriMemoryPolicy,
    EriFluxPatchify,
    EriFluxUnpatchify,
    EriSaveSamples,
    EriContactSheet,
    EriImageEmbedding,
]
#: What nodes of the pack put into a running graph; no graph that is saved holds them.
BRANCHES: list[type[io.ComfyNode]] = [EriEachList, EriEachSample, EriEachSave, EriEachShow]


class EriExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*NODES, *BRANCHES]


async def comfy_entrypoint() -> EriExtension:
    """Return the extension object and add the routes for trainers. ComfyUI calls this once when it loads the pack."""
    register()
    return EriExtension()
