"""Make the host's modules importable in the training process (never in the pack itself)."""

from __future__ import annotations

import sys
from pathlib import Path

from comfyui_eridiffusion.dev.host_install import find_host, write_shim

EXAMPLES = Path(__file__).resolve().parent.parent


def use_host() -> Path:
    """Put the ComfyUI that the project would start on the import path, on the GPU where torch has one.

    Returns its folder. Raises HostError with the remedy when there is none.
    """
    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    args.use_pytorch_cross_attention = True
    return install.path
