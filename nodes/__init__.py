"""The pack's nodes, by family of job. The only part of the pack that imports the host."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..host.http import runs_routes
from ..host.http.routes import register
from .flux import EriFluxPatchify, EriFluxUnpatchify
from .guidance import EriGuidance
from .lora import EriLoraAtStep, EriLoraSteps
from .memory import EriMemoryPolicy
from .noise import EriTrainerNoise
from .output import EriContactSheet, EriSaveSamples
from .sampling import EriDDIMSampler, EriFlowEulerSampler, EriSample
from .schedules import EriDDIMSchedule, EriFlowSchedule, EriFluxSchedule
from .spec import EriSampleSpec
from .text import EriCacheConditioning, EriTripleTextEncode

#: Every node of the pack, in menu order.
NODES: list[type[io.ComfyNode]] = [
    EriSampleSpec,
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
    EriGuidance,
    EriSample,
    EriMemoryPolicy,
    EriFluxPatchify,
    EriFluxUnpatchify,
    EriSaveSamples,
    EriContactSheet,
]


class EriExtension(ComfyExtension):
    """What the host asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)


async def comfy_entrypoint() -> EriExtension:
    """The extension object; called once by the host while it loads custom nodes. Adds the routes for trainers."""
    register()
    runs_routes.register()
    return EriExtension()
