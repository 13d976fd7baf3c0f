"""Which config a run's folder holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyui_eridiffusion.workflows.run_overview import find_configs


def test_large_files_of_a_run_do_not_keep_its_config_from_being_read(tmp_path: Path) -> None:
    """Forty of a megabyte each kept a request busy for a minute; the config is older than they are, and small."""
    item = "{prompt: a, width: 64, height: 64, steps: 1}"
    (tmp_path / "config.yaml").write_text(f"eri_spec: 1\nfamily: flux\nitems: [{item}]\n")
    for number in range(4):
        (tmp_path / f"captions_{number}.json").write_text("[" + "0, " * 130_000 + "0]")
    os.utime(tmp_path / "config.yaml", (1, 1))
    found = find_configs(tmp_path)
    assert [path.name for path in found.read] == ["config.yaml"]
    assert sum("not looked at" in str(error) for error in found.refused.values()) == 2


def test_a_folder_that_may_not_be_listed_hides_no_other_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.txt").write_text("a fox --d 3\n")
    (tmp_path / "train.sh").write_text("accelerate launch flux_train_network.py --ae a.sft --sample_prompts p.txt")
    (tmp_path / "config").mkdir()
    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "config":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = find_configs(tmp_path)
    assert [path.name for path in found.read] == ["train.sh"]
    assert str(found.refused[tmp_path / "config"]) == "config: cannot be listed (Permission denied)"
