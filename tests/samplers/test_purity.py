"""The samplers load nothing they do not need."""

from __future__ import annotations

import subprocess
import sys

from comfyui_eridiffusion import samplers

PROGRAM = """
import sys
import comfyui_eridiffusion.samplers as samplers
assert not {"torch", "numpy", "comfy"} & set(sys.modules), "the package alone loaded a library"
from importlib import import_module
for name in samplers.__all__:
    import_module(f"{samplers.__name__}.{name}")
loaded = {"comfy", "nodes", "folder_paths", "pydantic", "diffusers"} & set(sys.modules)
assert not loaded, loaded
"""


def test_the_modules_import_without_the_host() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "noise" in samplers.__all__
