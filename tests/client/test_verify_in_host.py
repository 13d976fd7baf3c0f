"""`eri verify` in a real ComfyUI: pictures that the trainers' own code made are saved as the trainers name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.tests.parity.cells import CELLS, DATA
from comfyui_eridiffusion.tests.parity.graph_runs import MODELS, cell_spec, trainer_samples


def picture(tag: str, index: int) -> Image.Image:
    return Image.fromarray(trainer_samples()[tag][index].picture.numpy())


def verify(host: Any, tag: str, run: Path, output: Path, *more: str) -> int:
    config, models = DATA / "configs" / CELLS[tag].config, MODELS / f"{CELLS[tag].family}.yaml"
    words = ["verify", str(config), "--run", str(run), "--models", str(models), "--host", host.url, "-o", str(output)]
    with pytest.raises(SystemExit) as ended:
        app([*words, *more])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_same_picture_as_it_was_saved(
    host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As PNG, as a JPEG with Pillow's defaults as ai-toolkit saves it, and as a smaller JPEG."""
    samples = tmp_path / "quix" / "samples"
    samples.mkdir(parents=True)
    picture("aitk_sd35", 0).save(samples / "1700000000000__000000000_0.png")
    picture("aitk_sd35", 1).save(samples / "1700000000001__000000000_1.jpg")
    third = picture("aitk_sd35", 2)
    third.resize((third.width // 2, third.height // 2), Image.Resampling.BICUBIC).save(
        samples / "1700000000002__000000000_2.jpg", quality=90
    )
    assert verify(host_server, "aitk_sd35", samples.parent, tmp_path / "out", "--json") == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert (found["verdict"], found["step"], found["not_compared"]) == ("same picture", 0, [])
    assert [one["verdict"] for one in found["pictures"]] == ["same picture"] * 3
    assert [one["shown_as"] for one in found["pictures"]] == ["PNG", "JPEG", "JPEG, resized (bicubic) from 64 x 96"]
    assert found["pictures"][0]["largest"] <= 1
    assert found["pictures"][0]["ssim"] > 0.9999
    assert not any(one["reasons"] for one in found["pictures"])
    for private in (str(tmp_path), "quix", *(item.prompt for item in cell_spec("aitk_sd35").items)):
        assert private not in text
    with Image.open(tmp_path / "out" / "quix" / "verify_step_000000.png") as sheet:
        assert sheet.width > 3 * 64
    assert len(list((tmp_path / "out" / "quix" / "verify_step_000000").iterdir())) == 3

    (samples / "1700000000001__000000000_1.jpg").unlink()  # all is there now: no ComfyUI is asked
    host = type("Down", (), {"url": "http://127.0.0.1:9"})
    assert verify(host, "aitk_sd35", samples.parent, tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert "same picture" in shown.out
    assert "item 1 was not compared: the trainer saved no sample of it at this step" in shown.err


def test_a_difference_is_told(host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture of another checkpoint than its name says, one that is broken, one of another size."""
    samples = tmp_path / "run" / "samples"
    samples.mkdir(parents=True)
    picture("aitk_sd35_lora", 0).save(samples / "1700000000000__000000000_0.png")
    (samples / "1700000000001__000000000_1.png").write_bytes(b"no picture")
    picture("aitk_sd35", 0).save(samples / "1700000000002__000000000_2.png")
    assert verify(host_server, "aitk_sd35", samples.parent, tmp_path / "out", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    first, third = found["pictures"]
    assert found["verdict"] == first["verdict"] == third["verdict"] == "different"
    theirs, other = (trainer_samples()[tag][0].picture.int() for tag in ("aitk_sd35_lora", "aitk_sd35"))
    assert abs(first["largest"] - int((theirs - other).abs().max())) <= 1
    assert first["mean"] == pytest.approx(float((theirs - other).abs().float().mean()), abs=0.01)
    assert first["ssim"] < 0.95
    assert (first["reasons"][0], third["reasons"]) == ("model", ["size"])  # the small model is not the config's
    assert found["other_base_model"]
    assert found["versions"]["comfyui"]
    assert [one["index"] for one in found["not_compared"]] == [1]
    assert "no whole picture" in found["not_compared"][0]["why"]
    assert str(tmp_path) not in json.dumps(found)
