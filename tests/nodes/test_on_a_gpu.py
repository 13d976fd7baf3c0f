"""benchmarks/on_a_gpu.py in its small form on the CPU: what it checks holds here, its tables hold what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.benchmarks import gpu_parts, gpu_tables, on_a_gpu
from comfyui_eridiffusion.tests.nodes.lora_runs import folders
from comfyui_eridiffusion.tests.parity.cells import SAME_LATENT, SAME_PIXEL
from comfyui_eridiffusion.tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def results(comfy_host: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the parts that a CPU can run, each once."""
    loras = tmp_path_factory.mktemp("gpu_loras")
    with folders(loras=loras):
        host = gpu_parts.Host(comfy_host.nodes, loras, small=True)
        found = {
            "noise": gpu_parts.noise(host),
            "pictures": gpu_parts.pictures(host),
            "lora flux classic": gpu_parts.lora(host, "flux"),
            "memory classic": gpu_parts.memory(host),
        }
    return {part: {"machine": host.machine(), **one} for part, one in found.items()}


def test_what_it_checks_holds_on_a_cpu(results: dict[str, Any]) -> None:
    assert set(results["noise"]["largest difference"].values()) == {0.0}
    latent, pixel, _ = results["pictures"]["cells"]["kohya_flux"]["float32"]
    assert latent <= SAME_LATENT
    assert pixel <= SAME_PIXEL
    assert results["pictures"]["cells"]["kohya_flux"]["bfloat16"][1] > SAME_PIXEL
    assert results["lora flux classic"]["merged equals stock"]
    assert results["lora flux classic"]["base weights restored"]


def test_the_tables_hold_every_part(results: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{on_a_gpu.MARKS[0]}\nstale\n{on_a_gpu.MARKS[1]}\n\nafter\n", encoding="utf-8")
    left_out = {"memory dynamic": {"not here": "no dynamic VRAM here"}}
    on_a_gpu.write_table(page, {**results, **left_out})
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "stale" not in text
    for told in ("CPU", "`torch-cpu`", "| kohya_flux |", "| flux, ", "| classic | sequential |", "memory dynamic (no"):
        assert told in text, told


def test_a_part_that_is_there_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And one that cannot run says so; nothing is written for it."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps({part: {} for part in on_a_gpu.PARTS}), encoding="utf-8")
    assert on_a_gpu.run(tmp_path, path, list(on_a_gpu.PARTS), small=True) == 0
    assert capsys.readouterr().out.count("there") == len(on_a_gpu.PARTS)
    path.write_text("{}", encoding="utf-8")
    assert on_a_gpu.run(tmp_path, path, ["noise"], small=True) == 1
    assert "no ComfyUI there" in capsys.readouterr().out
    assert on_a_gpu.read(path) == {}


def test_a_part_ends_with_the_script_that_began_it() -> None:
    """Or it would hold the device's memory when the script is started again."""
    work = "import time; from comfyui_eridiffusion.benchmarks import on_a_gpu; on_a_gpu.end_with_parent(); {}"
    part = subprocess.Popen([sys.executable, "-c", work.format("time.sleep(600)")], stdin=subprocess.PIPE)
    assert part.stdin
    part.stdin.close()  # as the system does where the script is killed
    assert part.wait(PATIENCE) == 1
    done = on_a_gpu.measured([sys.executable, "-c", work.format("print('found')")])
    assert (done.returncode, done.stdout, done.stderr) == (0, "found\n", "")


def test_a_machine_without_results_has_no_tables() -> None:
    assert gpu_tables.tables({}).strip() == ""
