"""What the log viewers need before the first image: the package, a login, and one run over restarts.

W&B's server takes no part: no login is a case of its own here, everything else is written offline.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client.training_logs import TensorBoardLog, WandbLog
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.tests.waiting import PATIENCE

OPEN = """
import sys
from pathlib import Path
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.client.training_logs import WandbLog
for name in sys.argv[1:]:
    try:
        WandbLog("eri_test", name, Path("runs") / name).close()
    except HostError as error:
        print(error)
"""


def opened(folder: Path, *names: str, **environment: str) -> str:
    """Open and close logs of these runs, as nobody whom W&B knows; what is printed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    home = {"HOME": str(folder), "USERPROFILE": str(folder), "NETRC": str(folder / "none"), "WANDB_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *names], cwd=folder, env={**kept, **home, **environment}, check=True,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.stdout


def test_without_a_login_the_remedy_is_said(tmp_path: Path) -> None:
    said = opened(tmp_path, "zorp", WANDB_MODE="online")
    assert "did not open the project 'eri_test'" in said
    assert "wandb login" in said
    assert "WANDB_MODE=offline" in said


def test_a_restart_goes_on_in_the_same_run(tmp_path: Path) -> None:
    """W&B joins what has one id; offline a run's file is named by it, whatever its folder is called."""
    assert opened(tmp_path, "zorp", "other", "zorp", WANDB_MODE="offline") == ""
    assert len({path.name for path in tmp_path.rglob("run-*.wandb")}) == 2


@pytest.mark.parametrize(("package", "option"), [("wandb", "--wandb"), ("tensorboard", "--tensorboard")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, option: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    opening: Any = {"wandb": lambda: WandbLog("p", "r", tmp_path), "tensorboard": lambda: TensorBoardLog(tmp_path)}
    with pytest.raises(HostError, match=f"{option} needs the package {package}") as caught:
        opening[package]()
    assert f"pip install {package}" in str(caught.value)
