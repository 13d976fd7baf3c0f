"""The pack as ComfyUI's registry has it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from comfyui_eridiffusion.dev.host_install import ROOT


def published_files() -> set[Path]:
    """What git has and .comfyignore does not name: its patterns are git's, at every depth without a leading slash."""

    def listed(*options: str) -> set[Path]:
        command = ["git", "ls-files", "-z", "--cached", "--others", *options]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        return {ROOT / name for name in names if name}

    ignored = listed("--ignored", f"--exclude-from={ROOT / '.comfyignore'}")
    return {path for path in listed("--exclude-standard") - ignored if path.is_file()}


def copy_files(files: set[Path], folder: Path) -> Path:
    """Copy files of the repository to their places below `folder`, and return it."""
    for path in files:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder
