"""EriSampleSpec on configs that name a second file: read below the host's folders only, and noticed when it changes."""

from __future__ import annotations

from collections.abc import Callable
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


@pytest.fixture
def parsed(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed as configs since the test began."""
    texts: list[str] = []
    module = comfy_host.pack("host.spec")
    real: Callable[..., Any] = module.read_opened

    def counted(text: str, *rest: Any) -> Any:
        texts.append(text)
        return real(text, *rest)

    monkeypatch.setattr(module, "read_opened", counted)
    module._parsed.cache_clear()
    return texts


def test_a_config_is_parsed_once(comfy_host: Any, folder: Path, parsed: list[str]) -> None:
    """ComfyUI asks for the fingerprint and then for the outputs, in every prompt of a sweep."""
    node = comfy_host.nodes["EriSampleSpec"]
    text = "model_family = 'flux'\nvalidation_prompt = 'a fox'\n"
    (folder / "whole.toml").write_text(text + "# file\n")
    for config in (text, "whole.toml"):
        for _ in range(3):
            node.fingerprint_inputs(config=config, **INPUTS)
            assert "a fox" in node.execute(config=config, **INPUTS).result[0]
    assert parsed == [text, text + "# file\n"]
    node.execute(config=text, **{**INPUTS, "family": "sd35"})
    assert len(parsed) == 3


def test_a_changed_file_is_parsed_anew(comfy_host: Any, folder: Path, parsed: list[str]) -> None:
    """Also where only the file that the config names changed, or another one came before it."""
    node = comfy_host.nodes["EriSampleSpec"]
    config, prompts = folder / "runs" / "train.toml", folder / "runs" / "p" / "p.txt"
    prompts.parent.mkdir(parents=True)

    def read() -> list[str]:
        node.fingerprint_inputs(config="runs/train.toml", **INPUTS)
        return node.execute(config="runs/train.toml", **INPUTS).result[0]

    config.write_text(CONFIG.format("p/p.txt"))
    for count, said in enumerate(("a fox", "an owl"), 1):
        prompts.write_text(f"{said}\n")
        assert read() == read() == [said]
        assert len(parsed) == count
    prompts.unlink()
    with pytest.raises(ValueError, match="there is no file"):
        read()
    prompts.write_text("a fox\n")
    assert read() == ["a fox"]
    config.write_text(f"[model]\n{CONFIG.format('p/p.txt')}")
    before = len(parsed)
    assert read() == ["a fox"]
    assert len(parsed) == before + 1


def test_what_a_node_gives_is_not_what_is_kept(comfy_host: Any, parsed: list[str]) -> None:
    node = comfy_host.nodes["EriSampleSpec"]
    text = "model_family = 'flux'\nvalidation_prompt = 'a fox [trigger]'\nvalidation_seed = 3\n"
    first = node.execute(config=text, **{**INPUTS, "trigger_word": "zorp"}).result
    second = node.execute(config=text, **INPUTS).result
    assert ("a fox zorp" in first[0], "a fox [trigger]" in second[0]) == (True, True)
    assert any("zorp" in note for note in first[9].notes)
    assert not any("zorp" in note for note in second[9].notes)
    assert len(parsed) == 1


def test_files_outside_the_hosts_folders_are_not_read(comfy_host: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    for name in (str(tmp_path / "secret.txt"), "link.txt"):
        (folder / "link.txt").unlink(missing_ok=True)
        (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
        (folder / "train.toml").write_text(CONFIG.format(name))
        with pytest.raises(ValueError, match="ComfyUI's folders") as caught:
            comfy_host.nodes["EriSampleSpec"].execute(config="train.toml", **INPUTS)
        assert "a secret" not in str(caught.value)


def test_a_config_that_is_a_link_out_is_not_read(comfy_host: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.toml").write_text(CONFIG.format("prompts.txt"))
    (folder / "linked.toml").symlink_to(tmp_path / "secret.toml")
    with pytest.raises(ValueError, match="out of the allowed folders"):
        comfy_host.nodes["EriSampleSpec"].execute(config="linked.toml", **INPUTS)


def test_pasted_text_opens_no_file(comfy_host: Any, folder: Path) -> None:
    (folder / "prompts.txt").write_text("a fox\n")
    with pytest.raises(ValueError, match="did not come with the config"):
        comfy_host.nodes["EriSampleSpec"].execute(config=CONFIG.format("prompts.txt"), **INPUTS)
