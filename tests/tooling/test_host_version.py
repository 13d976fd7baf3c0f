"""A host that is too old is told which version the pack needs, wherever it looks for nodes first."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import comfyui_eridiffusion
from comfyui_eridiffusion.host_version import FLOOR, require_host

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("version", [FLOOR, "0.3.75", "0.4.0", "0.33.0", "1.0", "v0.8.2", "", "nightly"])
def test_hosts_that_can_run_the_pack(version: str) -> None:
    require_host(version, has_nodes_v3=True)


@pytest.mark.parametrize(
    ("version", "v3", "said"),
    [
        ("0.3.63", True, "this is 0.3.63"),
        ("0.3.9", True, "this is 0.3.9"),
        ("0.2.7", False, "this is 0.2.7"),
        ("", False, "this one is older"),
        ("0.3.75", False, "this is 0.3.75"),
    ],
)
def test_hosts_that_cannot(version: str, v3: bool, said: str) -> None:
    with pytest.raises(ImportError, match=rf"needs ComfyUI {FLOOR} or newer; {said}\. Update ComfyUI"):
        require_host(version, has_nodes_v3=v3)


def old_host(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    module = ModuleType("comfyui_version")
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comfyui_version", module)


def test_both_ways_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts without V3 nodes ask for NODE_CLASS_MAPPINGS only, by hasattr; older V3 hosts go on to the entry point."""
    old_host(monkeypatch, "0.3.40")
    with pytest.raises(ImportError, match=r"this is 0\.3\.40"):
        hasattr(comfyui_eridiffusion, "NODE_CLASS_MAPPINGS")
    with pytest.raises(ImportError, match=r"this is 0\.3\.40"):
        asyncio.run(comfyui_eridiffusion.comfy_entrypoint())  # type: ignore[arg-type]


def test_a_good_host_finds_no_table(comfy_host: Any) -> None:
    """Were there one, the host would not go on to the entry point."""
    for package in (comfyui_eridiffusion, comfy_host.pack()):
        assert not hasattr(package, "NODE_CLASS_MAPPINGS")
        assert not hasattr(package, "anything_else")


def test_the_published_requirement_is_the_floor() -> None:
    assert f'requires-comfyui = ">={FLOOR}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
