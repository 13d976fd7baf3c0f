"""How the pack, the example loaders and models reach a host without writing into its folder (standard library only)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .host_install import ROOT, HostInstall

PACK_FOLDER = "comfyui-eridiffusion"
LOADERS_FOLDER = "eri-example-loaders"


def link_custom_nodes(workspace: Path, install: HostInstall, pack: Path = ROOT) -> tuple[Path, list[str]]:
    """Link the pack and the example loaders into the workspace; return that folder and the names to load.

    A pack already installed in this very host is not linked a second time, only named. `pack`: a copy to take instead.
    """
    folder = workspace / "custom_nodes"
    folder.mkdir(parents=True, exist_ok=True)
    links = {PACK_FOLDER: pack, LOADERS_FOLDER: ROOT / "examples" / "loaders"}
    names = []
    for installed in (Path(__file__).absolute().parent.parent, ROOT):
        if install.origin == "custom_nodes" and installed.parent == install.path / "custom_nodes":
            links.pop(PACK_FOLDER, None)
            remove_link(folder / PACK_FOLDER)
            names.append(installed.name)
    for name, target in links.items():
        if target.is_dir():
            link_folder(folder / name, target)
            names.append(name)
    return folder, list(dict.fromkeys(names))


def write_model_paths(file: Path, custom_nodes: Path | None, more: Mapping[str, Sequence[Path]]) -> None:
    """Write the extra model paths file: custom nodes, the examples' models and runs, and `more`."""
    models, runs = ROOT / "examples" / "models", ROOT / "examples" / "runs"
    kinds = {kind: [models] for kind in ("checkpoints", "diffusion_models", "text_encoders", "vae")}
    kinds["loras"] = [runs]
    for kind, folders in more.items():
        kinds[kind] = [*(Path(folder).absolute() for folder in folders), *kinds.get(kind, [])]
    if custom_nodes is not None:
        kinds["custom_nodes"] = [custom_nodes]
    entries = {kind: "\n".join(str(folder) for folder in folders) for kind, folders in kinds.items()}
    file.write_text(json.dumps({"eridiffusion": entries}, indent=2), encoding="utf-8")  # JSON is YAML


def link_folder(link: Path, target: Path) -> None:
    if link.exists() and link.resolve() == target.resolve():
        return
    remove_link(link)
    if sys.platform == "win32":
        import _winapi  # a junction needs no privilege, a symbolic link does

        _winapi.CreateJunction(str(target), str(link))
    else:
        with contextlib.suppress(FileExistsError):  # made meanwhile by another process
            link.symlink_to(target, target_is_directory=True)


def remove_link(link: Path) -> None:
    if link.is_symlink() or link.exists():
        os.unlink(link) if link.is_symlink() else os.rmdir(link)  # rmdir: a junction, never a folder with files
