"""Dynamic VRAM in a process that imports ComfyUI without starting it: what its `main.py` does for it.

Only on an NVIDIA card, with a ComfyUI that has it (0.33 does) and its library comfy-aimdo.
"""

from __future__ import annotations

import importlib.util


def load_library() -> None:
    """Load comfy-aimdo where it is installed. Before ComfyUI's modules, which look at it when they are imported."""
    if importlib.util.find_spec("comfy_aimdo") is not None:
        import comfy_aimdo.control

        comfy_aimdo.control.init()


def switch_on() -> bool:
    """Let ComfyUI's loaders make dynamic patchers from now on; says whether this ComfyUI and this machine have them."""
    import comfy.model_management as management
    import comfy.model_patcher
    import torch

    dynamic = getattr(comfy.model_patcher, "ModelPatcherDynamic", None)
    if dynamic is None or not torch.cuda.is_available() or not management.is_nvidia():
        return False
    import comfy.memory_management
    import comfy_aimdo.control

    if not comfy_aimdo.control.init_devices([management.get_torch_device().index]):
        return False
    comfy.model_patcher.CoreModelPatcher = dynamic
    comfy.memory_management.aimdo_enabled = True
    return True
