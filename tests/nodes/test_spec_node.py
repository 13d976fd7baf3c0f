"""EriSampleSpec on configs that name a second file: read below the host's folders only, and noticed when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CONFIG = "ae = 'ae.sft'\nsample_prompts = '{}'\n"
INPUTS = {"family": "auto", "trainer": "auto", "trigger_word": "", "items": ""}


@pytest.fixture
def folder(comfy_host: Any) -> Path:
    """The host's input folder."""
    import folder_paths

    return Path(folder_paths.get_input_directory())


def test_a_config_with_its_prompt_file(comfy_host: Any, folder: Path) -> None:
    node = comfy_host.nodes["EriSampleSpec"]
    (folder / "train.toml").write_text(CONFIG.format("prompts.txt"))
    (folder / "prompts.txt").write_text("a fox --w 640 --d 5\nan owl --d 6\n")
    outputs = node.execute(config="train.toml", **INPUTS).result
    assert outputs[0] == ["a fox", "an owl"]
    assert outputs[2] == [640, 512]
    assert outputs[4] == [5, 6]
    before = node.fingerprint_inputs(config="train.toml", **INPUTS)
    assert node.fingerprint_inputs(config="train.toml", **INPUTS) == before
    (folder / "prompts.txt").write_text("a fox --w 640 --d 5\nan elk --d 6\n")
    assert node.fingerprint_inputs(config="train.toml", **INPUTS) != before


def test_files_outside_the_hosts_folders_are_not_read(comfy_host: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    for name in (str(tmp_path / "secret.txt"), "link.txt"):
        (folder / "link.txt").unlink(missing_ok=True)
        (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
        (folder / "train.toml").write_text(CONFIG.format(name))
        with pytest.raises(ValueError, match="folders of this host") as caught:
            comfy_host.nodes["EriSampleSpec"].execute(config="train.toml", **INPUTS)
        assert "a secret" not in str(caught.value)


def test_pasted_text_opens_no_file(comfy_host: Any, folder: Path) -> None:
    (folder / "prompts.txt").write_text("a fox\n")
    with pytest.raises(ValueError, match="may not open files"):
        comfy_host.nodes["EriSampleSpec"].execute(config=CONFIG.format("prompts.txt"), **INPUTS)
