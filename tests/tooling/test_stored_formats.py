"""What earlier versions wrote is read by this one: each stored form, as it was, and what it means.

Workflows of 0.1.0: tests/workflows/test_old_workflows.py. Prompt embeddings in another format are made again:
tests/nodes/test_cache_store.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from comfyui_eridiffusion.client.sample_records import _same
from comfyui_eridiffusion.compare.collection import read_collection
from comfyui_eridiffusion.compare.manifest import read
from comfyui_eridiffusion.compare.measured import read_means
from comfyui_eridiffusion.compare.measures import measure, write_measures
from comfyui_eridiffusion.compare.votes import read_votes
from comfyui_eridiffusion.errors import CompareError, EriError, NoPicturesError, RequestError, SpecError
from comfyui_eridiffusion.gallery.marks import KeptMarks
from comfyui_eridiffusion.gallery.write import read_marker, write_gallery
from comfyui_eridiffusion.host.text.cache_store import unpack
from comfyui_eridiffusion.lora import read_lora
from comfyui_eridiffusion.spec import read_text
from comfyui_eridiffusion.tests.compare.sample_pictures import picture, run_of_pictures, spec_of
from comfyui_eridiffusion.tests.waiting import PATIENCE
from comfyui_eridiffusion.workflows.run_memory import RunMemory, read_memory, write_memory

#: `native.json` is the config in a graph of 0.1.0 (its example "training_run"), `embedding.safetensors` what 0.1.0 kept
#: under the key "k1"; the gallery's marker and the measures were written by the first code that wrote them.
WRITTEN = Path(__file__).with_name("data") / "version_1"
NATIVE = (WRITTEN / "native.json").read_text(encoding="utf-8")
ITEM = json.loads(NATIVE)["items"][0]


def newer(name: str, folder: Path) -> Path:
    """The file as a version from the future would write it."""
    text = (WRITTEN / name).read_text(encoding="utf-8").replace('"version": 1', '"version": 9')
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_the_native_form_of_the_first_version() -> None:
    spec = read_text(NATIVE)
    (item,) = spec.items
    found = {"family": spec.family, "trainer": spec.trainer, "variant": spec.variant, "name": spec.name}
    assert found == {key: json.loads(NATIVE)[key] for key in found}
    assert {key: getattr(item, key) for key in ITEM} == ITEM
    with pytest.raises(SpecError, match="2"):
        read_text(NATIVE.replace('"eri_spec": 1', '"eri_spec": 2'))


def test_the_record_in_a_picture_of_the_first_version() -> None:
    """It says nothing of what samples have had since; that counts as what it is by default."""
    (item,) = read_text(NATIVE).items
    record = {"run": "my_run", "step": 500, **ITEM}
    assert _same(item, record)
    assert not _same(item, {**record, "seed": 43})
    del record["prompt"]
    assert not _same(item, record)


def test_what_is_kept_with_a_run(tmp_path: Path) -> None:
    memory = read_memory(WRITTEN / "eridiffusion.json")
    assert (memory.file, dict(memory.marks)) == ("a.yaml", {(500, 2): "reject"})
    with pytest.raises(RequestError, match="version"):
        read_memory(newer("eridiffusion.json", tmp_path))


def test_prompt_embeddings() -> None:
    ((tokens, more),) = unpack((WRITTEN / "embedding.safetensors").read_bytes(), "k1")
    assert torch.equal(tokens, torch.arange(12).reshape(1, 3, 4) / 8)
    assert torch.equal(more.pop("pooled_output"), torch.tensor([[0.5, -1.25]], dtype=torch.bfloat16))
    assert more == {"guidance": 3.5, "width": 64, "prompt_type": None}


def test_manifest_and_votes(tmp_path: Path) -> None:
    (line,) = read(WRITTEN)
    assert (line.run, line.item, line.step, dict(line.axes), line.file) == ("r", 1, 500, {"strength": 0.8}, "a/b.png")
    (vote,) = read_votes(WRITTEN / "votes.jsonl")
    assert (vote.run, vote.vote, vote.left.step, vote.right.step) == ("r", "tie", 5, 6)
    newer("manifest.jsonl", tmp_path)
    for reader in (lambda: read(tmp_path), lambda: read_votes(newer("votes.jsonl", tmp_path))):
        with pytest.raises(CompareError, match="9"):
            reader()


def test_what_a_gallery_keeps(tmp_path: Path) -> None:
    """Its marker, which tells what it may delete, and the marks that its button saves."""
    marker = read_marker(WRITTEN)
    assert (marker["run"], len(marker["files"]), marker["verdicts"]) == ("my_run", 6, {})
    assert marker["known"]["samples_step_000500/step_000500_sample_00.png"][2] == "66effb523c323190d7cf.png"
    marks = KeptMarks(read_collection(run_of_pictures(tmp_path / "my_run", spec_of(), (500,))))
    assert marks.take(WRITTEN / "my_run.eridiffusion.json") == 1
    assert marks.all() == [{"step": 500, "item": 0, "mark": "favourite"}]
    newer("eridiffusion-gallery.json", tmp_path)
    for reader in (lambda: read_marker(tmp_path), lambda: marks.take(newer("my_run.eridiffusion.json", tmp_path))):
        with pytest.raises(CompareError, match="9"):
            reader()


def test_measures() -> None:
    """The first version wrote the change from step to step over the step: such a line is left out."""
    assert read_means(WRITTEN) == {"change": {"": {0: 0.0}}, "change_ssim": {"": {0: 1.0}}, "sharpness": {"": {0: 0.0}}}


@pytest.mark.parametrize("value", ["1e999", "NaN", "9" * 400, "null", "[]", '"\\ud800"'])
@pytest.mark.parametrize("field", ["step", "index", "seed", "width", "prompt", "lora_scale", "strength_model"])
def test_records_that_hold_anything(tmp_path: Path, field: str, value: str) -> None:
    """What JSON can hold and no sample has: the picture counts, or it does not."""
    path = picture(tmp_path, spec_of(), 500, 0)
    with Image.open(path) as opened:
        record = {**json.loads(opened.text["eridiffusion"]), field: "@"}
    lora = {"strength_model": record.pop("strength_model", 0.5)}
    info = PngInfo()
    for key, said in (("eridiffusion", record), ("eridiffusion_lora", lora)):
        info.add_text(key, json.dumps(said).replace('"@"', value))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    with contextlib.suppress(NoPicturesError):
        found = read_collection(tmp_path)
        write_measures(found, measure(found))
        write_gallery(found, tmp_path / "gallery", animation="none")
        json.dumps(read_means(tmp_path), allow_nan=False)


def test_half_a_character_in_a_note_is_kept_as_it_came(tmp_path: Path) -> None:
    write_memory(tmp_path / "eridiffusion.json", RunMemory(notes={(1, 0): "half \ud83d"}))
    assert read_memory(tmp_path / "eridiffusion.json").notes == {(1, 0): "half \ud83d"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes have names here")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("eridiffusion.json", lambda path: read_memory(path)),
        ("votes.jsonl", lambda path: read_votes(path)),
        ("manifest.jsonl", lambda path: read(path.parent)),
        ("eridiffusion-gallery.json", lambda path: read_marker(path.parent)),
        ("adapter_config.json", lambda path: read_lora(path.with_name("adapter_model.safetensors"))),
        ("a.png", lambda path: read_collection(path.parent)),
    ],
)
def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    """Nobody ever writes into it."""
    os.mkfifo(tmp_path / name)
    save_file({"base_model.model.a.lora_A.weight": torch.zeros(4, 8)}, tmp_path / "adapter_model.safetensors")
    error: list[BaseException] = []

    def catch() -> None:
        try:
            read(tmp_path / name)
        except EriError as caught:
            error.append(caught)

    reader = threading.Thread(target=catch, daemon=True)
    reader.start()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    assert error
