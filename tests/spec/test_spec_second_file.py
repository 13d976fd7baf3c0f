"""Files that a config names: where they are looked for, and what may not be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui_eridiffusion.spec import SpecError, read_spec, read_text

CONFIG = "ae = 'ae.sft'\nsample_prompts = 'lists/prompts.txt'\n"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The config's folder and the working directory."""
    config, work = tmp_path / "configs", tmp_path / "work"
    for folder in (config, work):
        (folder / "lists").mkdir(parents=True)
    (config / "train.toml").write_text(CONFIG)
    monkeypatch.chdir(work)
    return config, work


def prompts(folder: Path, text: str) -> None:
    (folder / "lists" / "prompts.txt").write_text(text)


def test_beside_the_config_first_then_the_working_directory(folders: tuple[Path, Path]) -> None:
    config, work = folders
    prompts(work, "from the working directory\n")
    assert read_spec(config / "train.toml").items[0].prompt == "from the working directory"
    prompts(config, "from beside the config\n")
    assert read_spec(config / "train.toml").items[0].prompt == "from beside the config"


def test_both_tries_are_named(folders: tuple[Path, Path]) -> None:
    config, work = folders
    with pytest.raises(SpecError) as caught:
        read_spec(config / "train.toml")
    for folder in (config, work):
        assert str(folder / "lists" / "prompts.txt") in str(caught.value)
    assert (caught.value.field, caught.value.line) == ("sample_prompts", 2)
    assert "prompts=" in str(caught.value)
    assert "--prompts" in str(caught.value.told_to("cli"))


def test_another_file_instead(folders: tuple[Path, Path]) -> None:
    config, work = folders
    prompts(config, "no\n")
    (work / "other.txt").write_text("yes\n")
    assert read_spec(config / "train.toml", prompts="other.txt").items[0].prompt == "yes"
    with pytest.raises(SpecError, match="no such file"):
        read_spec(config / "train.toml", prompts="missing.txt")


def test_text_opens_no_file(folders: tuple[Path, Path]) -> None:
    config, work = folders
    prompts(work, "secret\n")
    prompts(config, "secret\n")
    for read in (read_text, read_spec):
        with pytest.raises(SpecError, match="did not come with the config") as caught:
            read(CONFIG)
        assert "secret" not in str(caught.value)
    assert read_text(CONFIG, files={"lists/prompts.txt": "given\n"}).items[0].prompt == "given"
    assert read_text(CONFIG, files={"prompts.txt": "given\n"}).items[0].prompt == "given"


def test_only_files_below_the_roots_are_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    config, work = folders
    prompts(config, "allowed\n")
    assert read_spec(config / "train.toml", roots=[config]).items[0].prompt == "allowed"
    (config / "lists" / "prompts.txt").unlink()
    prompts(work, "secret\n")
    with pytest.raises(SpecError, match="ComfyUI's folders") as caught:
        read_spec(config / "train.toml", roots=[config])
    assert "secret" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value).replace(str(config), ""), "a place that is not looked at"
    (tmp_path / "secret.txt").write_text("secret\n")
    for name in ("../secret.txt", str(tmp_path / "secret.txt")):
        (config / "train.toml").write_text(f"ae = 'ae.sft'\nsample_prompts = '{name}'\n")
        assert read_spec(config / "train.toml").items[0].prompt == "secret"
        with pytest.raises(SpecError, match="ComfyUI's folders"):
            read_spec(config / "train.toml", roots=[config, work])


def test_a_link_out_of_the_roots_is_not_followed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    config, _ = folders
    (tmp_path / "secret.txt").write_text("secret\n")
    (config / "lists" / "prompts.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(SpecError, match="ComfyUI's folders"):
        read_spec(config / "train.toml", roots=[config])


@pytest.mark.parametrize("name", ["n" * 300, "a/" * 2500 + "p.txt"])
def test_a_second_file_whose_name_no_file_can_have(folders: tuple[Path, Path], name: str) -> None:
    config, _ = folders
    (config / "train.toml").write_text(f"ae = 'ae.sft'\nsample_prompts = '{name}'\n")
    for roots in (None, [config]):
        with pytest.raises(SpecError, match="there is no file"):
            read_spec(config / "train.toml", roots=roots)


def test_a_huge_or_broken_second_file(folders: tuple[Path, Path]) -> None:
    config, _ = folders
    path = config / "lists" / "prompts.txt"
    path.write_bytes(b"a\nb \xff\n")
    with pytest.raises(SpecError, match="not UTF-8") as caught:
        read_spec(config / "train.toml")
    assert (caught.value.source, caught.value.line) == (str(path), 2)
    with path.open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(SpecError, match="too large"):
        read_spec(config / "train.toml")


@pytest.mark.parametrize(
    ("trainer", "config", "name", "text"),
    [
        ("kohya", "ae = 'x'\nsample_prompts = 'p.json'\n", "p.json", '["a fox"]'),
        ("musubi", "dit = 'kontext'\nsample_prompts = 'p.txt'\n", "p.txt", "a fox"),
        (
            "onetrainer",
            '{"training_method": "LORA", "model_type": "FLUX_DEV_1", "sample_definition_file_name": "s.json"}',
            "s.json",
            '[{"prompt": "a fox"}]',
        ),
        (
            "simpletuner",
            '{"model_family": "flux", "user_prompt_library": "l.json", "validation_disable_unconditional": true}',
            "l.json",
            '{"x": "a fox"}',
        ),
        (
            "eridiffusion-v2",
            '{"model_type": "FluxDev1", "validation_prompts_file": "p.txt"}',
            "p.txt",
            "a fox",
        ),
    ],
)
def test_every_trainer_that_names_a_file(trainer: str, config: str, name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / ("c.json" if config.startswith("{") else "c.toml")
    path.write_text(config)
    with pytest.raises(SpecError, match="there is no file") as caught:
        read_spec(path)
    assert str(tmp_path / name) in str(caught.value)
    (tmp_path / name).write_text(text)
    spec = read_spec(path)
    assert (spec.trainer, [item.prompt for item in spec.items]) == (trainer, ["a fox"])
    other = tmp_path / f"other{Path(name).suffix}"
    other.write_text(text.replace("fox", "owl"))
    assert [item.prompt for item in read_spec(path, prompts=other).items] == ["an owl" if "an" in text else "a owl"]


def test_samples_in_the_config_need_no_file(tmp_path: Path) -> None:
    config = {"training_method": "LORA", "model_type": "FLUX_DEV_1", "samples": [{"prompt": "a"}]}
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config | {"sample_definition_file_name": "missing.json"}))
    assert read_spec(path).items[0].prompt == "a"


def test_prompts_for_a_config_that_holds_its_own(tmp_path: Path) -> None:
    config = Path(__file__).parents[2] / "examples" / "configs" / "flux.yaml"
    (tmp_path / "p.txt").write_text("a cat\n")
    assert read_spec(config).items
    with pytest.raises(SpecError, match=r"flux\.yaml.*p\.txt would not be read.*prompts="):
        read_spec(config, prompts=tmp_path / "p.txt")
