"""EriSampleSpec, EriSaveSamples and EriContactSheet in the real host."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from comfyui_eridiffusion.tests.nodes.host_calls import with_hidden

CONFIG = """
job: extension
config:
  name: my_run
  process:
    - type: sd_trainer
      trigger_word: zibble
      model:
        name_or_path: flux1-dev.safetensors
        is_flux: true
      sample:
        sampler: flowmatch
        sample_every: 250
        width: 128
        height: 64
        prompts:
          - "a red [trigger] (word:1.2)"
          - "second: größer"
          - "third"
        seed: 42
        walk_seed: true
        guidance_scale: 3.5
        sample_steps: 20
"""


@pytest.fixture
def output(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    yield tmp_path / "output"
    folder_paths.set_output_directory(before)


def read(comfy_host: Any, config: str = CONFIG, **changes: Any) -> Any:
    values = {"family": "auto", "trainer": "auto", "trigger_word": "", "items": "", **changes}
    return comfy_host.nodes["EriSampleSpec"].execute(config=config, **values).args


def save(comfy_host: Any, images: list[Any], hidden: Any = None, **changes: Any) -> list[dict[str, str]]:
    return saved(comfy_host, images, hidden, **changes)["images"]


def saved(comfy_host: Any, images: list[Any], hidden: Any = None, **changes: Any) -> dict[str, list[dict[str, str]]]:
    """The node's whole UI output."""
    values: dict[str, list[Any]] = {
        "step": [500],
        "layout": ["auto"],
        "format": ["auto"],
        "existing": ["overwrite"],
        "rounding": ["truncate"],
        "run": [""],
        **changes,
    }
    node = with_hidden(comfy_host.nodes["EriSaveSamples"], hidden or {})
    shown: dict[str, list[dict[str, str]]] = node.execute(images=images, **values).ui
    return shown


def pictures(count: int, height: int = 64, width: int = 128) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.rand(1, height, width, 3, generator=generator) for _ in range(count)]


def test_spec_becomes_parallel_lists(comfy_host: Any) -> None:
    out = read(comfy_host)
    prompts, negatives, widths, heights, seeds, steps, cfgs, guidances, names, spec, report, second, third = out
    assert prompts == ["a red zibble (word:1.2)", "second: größer", "third"]
    assert negatives == ["", "", ""]
    assert (widths, heights) == ([128] * 3, [64] * 3)
    assert seeds == [42, 43, 44]
    assert (steps, cfgs, guidances) == ([20] * 3, [1.0] * 3, [3.5] * 3)
    assert names == ["sample_00", "sample_01", "sample_02"]
    assert (second, third) == ([""] * 3, [""] * 3)
    assert spec.family == "flux"
    assert "my_run" in report


def test_some_items_keep_their_numbers(comfy_host: Any) -> None:
    out = read(comfy_host, items="0,2")
    assert out[8] == ["sample_00", "sample_02"]
    assert out[4] == [42, 44]


def test_a_sample_alone_is_named_as_one_of_its_trainers_several(comfy_host: Any, output: Path) -> None:
    """EriTrainer's sample_step0_base.png is of a single one; the spec in a file of several knows it, too."""
    spec = read(comfy_host, items="0")[9]
    for _ in range(2):
        (image,) = save(comfy_host, pictures(1), name=["sample_00"], spec=[spec], step=[0], layout=["eritrainer"])
        assert image["filename"] == "sample_step0_p1.png"
        with Image.open(output / image["subfolder"] / image["filename"]) as picture:
            spec = read(comfy_host, config=picture.text["eridiffusion_spec"])[9]  # type: ignore[attr-defined]
        assert [item.index for item in spec.items] == [0]
    alone = read(comfy_host, config=CONFIG.replace('          - "second: größer"\n          - "third"\n', ""))
    (image,) = save(comfy_host, pictures(1), name=["sample_00"], spec=[alone[9]], step=[0], layout=["eritrainer"])
    assert image["filename"] == "sample_step0_base.png"


def test_the_native_json_reads_back(comfy_host: Any) -> None:
    spec = read(comfy_host)[9]
    assert read(comfy_host, config=spec.to_json())[9].items == spec.items


def test_random_seeds_are_drawn_reported_and_drawn_anew(comfy_host: Any) -> None:
    document = json.loads(read(comfy_host)[9].to_json())
    for item in document["items"]:
        item["seed"] = None
    text = json.dumps(document)
    first, again = read(comfy_host, config=text), read(comfy_host, config=text)
    assert first[4] != again[4]
    assert all(0 <= seed < 2**53 for seed in first[4])
    assert all(str(seed) in first[10] for seed in first[4])
    fingerprint = comfy_host.nodes["EriSampleSpec"].fingerprint_inputs
    assert fingerprint(config=text) != fingerprint(config=text)
    assert fingerprint(config=CONFIG) == fingerprint(config=CONFIG)
    assert fingerprint(config=None) == ""


def test_a_file_of_the_input_folder(comfy_host: Any, tmp_path: Path) -> None:
    import folder_paths

    path = Path(folder_paths.get_input_directory()) / "train.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    assert read(comfy_host, config="train.yaml")[4] == [42, 43, 44]
    fingerprint = comfy_host.nodes["EriSampleSpec"].fingerprint_inputs
    first = fingerprint(config="train.yaml")
    path.write_text(CONFIG + "# longer", encoding="utf-8")
    assert fingerprint(config="train.yaml") != first
    outside = tmp_path / "secret.yaml"
    outside.write_text(CONFIG, encoding="utf-8")
    for name, message in (
        ("none.yaml", "no file 'none.yaml'"),
        (str(outside), "outside the folders"),
        ("../secret.yaml", "outside the folders"),
        ("", "config is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            read(comfy_host, config=name)


def test_a_trigger_word_fills_only_what_the_config_leaves_open(comfy_host: Any) -> None:
    open_config = CONFIG.replace("      trigger_word: zibble\n", "").replace("a red [trigger]", "a red [trigger]")
    assert read(comfy_host, config=open_config, trigger_word="wug")[0][0] == "a red wug (word:1.2)"
    with pytest.raises(ValueError, match="sets 'zibble'"):
        read(comfy_host, trigger_word="wug")


def test_a_broken_config_is_a_spec_error(comfy_host: Any) -> None:
    with pytest.raises(comfy_host.pack("spec").SpecError):
        read(comfy_host, config="job: extension\nconfig: {name: x}")


def test_samples_lie_where_the_trainer_puts_them(comfy_host: Any, output: Path) -> None:
    out = read(comfy_host)
    images = pictures(3)
    results = save(comfy_host, images, name=out[8], spec=[out[9]], prompt_file=["yes"])
    folder = output / "my_run" / "samples_step_000500"
    assert [entry["filename"] for entry in results] == [f"step_000500_sample_0{n}.png" for n in range(3)]
    assert {entry["subfolder"] for entry in results} == {"my_run/samples_step_000500"}
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"step_000500_sample_0{n}.{kind}" for n in range(3) for kind in ("png", "txt")
    )
    assert (folder / "step_000500_sample_01.txt").read_text(encoding="utf-8") == "second: größer"
    for n in range(3):
        with Image.open(folder / f"step_000500_sample_0{n}.png") as picture:
            expected = np.clip(images[n][0].numpy() * 255.0, 0, 255).astype(np.uint8)
            assert np.array_equal(np.asarray(picture), expected)


def test_selected_items_keep_their_file_numbers(comfy_host: Any, output: Path) -> None:
    out = read(comfy_host, items="2")
    results = save(comfy_host, pictures(1), name=out[8], spec=[out[9]])
    assert results[0]["filename"] == "step_000500_sample_02.png"


def test_metadata_is_the_stock_savers(comfy_host: Any, output: Path) -> None:
    """The same hidden inputs through SaveImage and through ours give the same prompt and workflow."""
    import nodes

    prompt, info = {"1": {"class_type": "X", "inputs": {"t": "größer"}}}, {"workflow": {"nodes": [1, 2]}}
    image = pictures(1)[0]
    stock = nodes.SaveImage().save_images(image, "stock", prompt=prompt, extra_pnginfo=info)["ui"]["images"][0]
    from comfy_api.latest import io

    hidden = {io.Hidden.prompt: prompt, io.Hidden.extra_pnginfo: info}
    out = read(comfy_host, items="0")
    for kind in ("png", "webp", "jpg"):
        ours = save(comfy_host, [image], hidden, name=out[8], spec=[out[9]], format=[kind])[0]
        with Image.open(output / ours["subfolder"] / ours["filename"]) as picture:
            if kind == "png":
                with Image.open(output / stock["filename"]) as expected:
                    for key in ("prompt", "workflow"):
                        assert picture.info[key] == expected.info[key]
                assert json.loads(picture.info["eridiffusion"])["prompt"] == "a red zibble (word:1.2)"
            else:
                exif = picture.getexif()
                assert exif[0x0110] == "prompt:" + json.dumps(prompt)
                assert exif[0x010F] == "workflow:" + json.dumps(info["workflow"])


def test_without_a_spec(comfy_host: Any, output: Path) -> None:
    results = save(comfy_host, [torch.cat(pictures(2))], name=["left", "right"], run=["run/../x"])
    assert [entry["filename"] for entry in results] == ["left.png", "right.png"]
    assert {path.parent.parent.parent for path in output.rglob("*.png")} == {output}
    assert save(comfy_host, pictures(1))[0]["filename"] == "sample_00.png"


def test_existing_files(comfy_host: Any, output: Path) -> None:
    for _ in range(3):
        names = [entry["filename"] for entry in save(comfy_host, pictures(1), name=["a"], existing=["number"])]
    assert names == ["a_3.png"]
    with pytest.raises(ValueError, match="exists already"):
        save(comfy_host, pictures(1), name=["a"], existing=["error"])


def test_bad_lists(comfy_host: Any, output: Path) -> None:
    for changes, message in (
        ({"name": ["a", "b"]}, "2 entries for 1 images"),
        ({"name": ["a"], "step": [1, 2]}, "step has 2 different values for 1 images"),
        ({"name": ["a"], "run": ["x", "y"]}, "run has different values"),
        ({"name": ["a"], "report": ["x", "y", "z"]}, "report has 3 different values for 1 images"),
        ({"name": ["a"], "template": ["{nme}"]}, r"unknown placeholder \{nme\}"),
        ({"name": ["a"], "template": ["../{name}"]}, "lead elsewhere"),
        ({"name": ["a"], "template": ["/tmp/{name}"]}, "starts at the root"),
    ):
        with pytest.raises(ValueError, match=message):
            save(comfy_host, pictures(1), **changes)
    with pytest.raises(ValueError, match="step is unknown"):
        save(comfy_host, pictures(1), step=[-1])
    with pytest.raises(ValueError, match="images is empty"):
        save(comfy_host, [])
    with pytest.raises(ValueError, match="the same name twice"):
        save(comfy_host, pictures(2), name=["a", "a"])
    with pytest.raises(ValueError, match=r"NaN.*fp32-vae"):
        save(comfy_host, [torch.full((1, 8, 8, 3), float("nan"))])
    with pytest.raises(ValueError, match="the same name twice"):
        save(comfy_host, pictures(2), name=["a", "A"])  # one file on Windows and macOS
    with pytest.raises(ValueError, match="the same name twice"):
        save(comfy_host, pictures(2), name=["a", "b"], template=["{run}/{step}"])
    assert not list(output.rglob("*.*"))


def test_nothing_is_written_when_one_picture_of_several_is_bad(comfy_host: Any, output: Path) -> None:
    bad = pictures(3)
    bad[2][0, 5, 5, 1] = float("inf")
    with pytest.raises(ValueError, match="NaN or infinite"):
        save(comfy_host, bad, name=["a", "b", "c"])
    save(comfy_host, pictures(1), name=["c"])
    with pytest.raises(ValueError, match="exists already"):
        save(comfy_host, pictures(3), name=["a", "b", "c"], existing=["error"])
    assert [path.name for path in output.rglob("*.png")] == ["c.png"]


def test_a_part_names_itself_and_the_first_one_all_pictures(
    comfy_host: Any, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a list whose pictures are saved one by one: what a later one costs does not grow with the list."""
    node = with_hidden(comfy_host.nodes["EriEachSave"], {})
    files = sys.modules[f"{node.__module__.removesuffix('.nodes.each')}.host.output.save"]
    named: list[str] = []
    path = files.relative_path
    monkeypatch.setattr(files, "relative_path", lambda *given: named.append(given[1].name) or path(*given))
    every = {"step": [500], "layout": ["auto"], "run": [""], "images": pictures(1)}
    node.execute(name=["a", "b", "c"], part=["1 of 3"], **every)
    assert named == ["a", "b", "c"]
    node.execute(name=["a", "b", "c"], part=["2 of 3"], **every)
    assert named[3:] == ["b"]
    with pytest.raises(ValueError, match="the same name twice"):
        node.execute(name=["d", "e", "D"], part=["1 of 3"], **every)
    assert sorted(path.name for path in output.rglob("*.png")) == ["a.png", "b.png"]


def test_a_template_and_a_quality(comfy_host: Any, output: Path) -> None:
    out = read(comfy_host)
    template = ["{family}/{trainer}/{run}[-{seed}]_{width}x{height}_{prompt:5}"]
    results = save(comfy_host, pictures(3), name=out[8], spec=[out[9]], template=template)
    assert [f"{entry['subfolder']}/{entry['filename']}" for entry in results] == [
        "flux/eridiffusion/my_run-42_128x64_a red.png",
        "flux/eridiffusion/my_run-43_128x64_secon.png",
        "flux/eridiffusion/my_run-44_128x64_third.png",
    ]
    sizes = []
    for quality in (10, 90):
        (entry,) = save(comfy_host, pictures(1), name=["q"], format=["jpg"], quality=[quality])
        sizes.append((output / entry["subfolder"] / entry["filename"]).stat().st_size)
    assert sizes[0] < sizes[1]


def test_prompt_files_are_reported(comfy_host: Any, output: Path) -> None:
    """What lies on disk beside the pictures, no more; a kept file is still told, one that was removed is not."""
    out = read(comfy_host)
    spec = {"name": out[8], "spec": [replace(out[9], family="sdxl")]}
    shown = saved(comfy_host, pictures(3), **spec)
    folder = output / "my_run" / "samples" / "step_000500"
    assert [entry["filename"] for entry in shown["prompt_files"]] == sorted(path.name for path in folder.glob("*.txt"))
    assert {(entry["subfolder"], entry["type"]) for entry in shown["prompt_files"]} == {
        ("my_run/samples/step_000500", "output")
    }
    (folder / "sample_01.txt").unlink()
    kept = saved(comfy_host, pictures(3), existing=["skip"], **spec)
    assert len(kept["images"]) == 3
    assert [entry["filename"] for entry in kept["prompt_files"]] == sorted(path.name for path in folder.glob("*.txt"))
    assert set(saved(comfy_host, pictures(3), prompt_file=["no"], **spec)) == {"images"}


def test_prompt_files_on_demand(comfy_host: Any, output: Path) -> None:
    out = read(comfy_host, items="1")
    for choice, expected in (("no", []), ("yes", ["second: größer"])):
        save(comfy_host, pictures(1), name=out[8], spec=[out[9]], layout=["ai-toolkit"], prompt_file=[choice])
        assert [path.read_text(encoding="utf-8") for path in output.rglob("*.txt")] == expected


def test_a_step_per_picture(comfy_host: Any, output: Path) -> None:
    """A sweep inside one graph: the step is a list, in step with the images."""
    results = save(comfy_host, pictures(4), step=[0, 0, 250, 250], run=["r"])
    assert [f"{entry['subfolder']}/{entry['filename']}" for entry in results] == [
        "r/step_000000/sample_00.png",
        "r/step_000000/sample_01.png",
        "r/step_000250/sample_00.png",
        "r/step_000250/sample_01.png",
    ]
    batches = [torch.cat(pictures(2)), torch.cat(pictures(2))]
    again = save(comfy_host, batches, step=[0, 250], run=["r"], existing=["skip"])
    assert again == results


def test_the_spec_in_a_file_is_read_back_and_the_report_is_kept(comfy_host: Any, output: Path) -> None:
    out = read(comfy_host)
    results = save(comfy_host, pictures(3), name=out[8], spec=[out[9]], report=["192 of 192 keys; größer"])
    with Image.open(output / results[1]["subfolder"] / results[1]["filename"]) as picture:
        info = dict(picture.info)
    assert json.loads(info["eridiffusion_lora"]) == "192 of 192 keys; größer"
    assert json.loads(info["eridiffusion"])["step"] == 500
    details = '{"matched": 192, "run": "größer"}'
    (entry,) = save(comfy_host, pictures(1), name=["d"], report=[details])
    with Image.open(output / entry["subfolder"] / entry["filename"]) as picture:
        assert json.loads(picture.info["eridiffusion_lora"]) == json.loads(details)
        assert picture.info["eridiffusion_lora"].isascii()  # the front end reads tEXt chunks only
    again = read(comfy_host, config=info["eridiffusion_spec"])
    assert again[9].items == [out[9].items[1]]
    assert (again[8], again[4]) == (["sample_01"], [43])


def test_no_metadata_where_the_host_is_told_so(comfy_host: Any, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfy.cli_args import args
    from comfy_api.latest import io

    monkeypatch.setattr(args, "disable_metadata", True)
    out = read(comfy_host, items="0")
    hidden = {io.Hidden.prompt: {"1": {}}, io.Hidden.extra_pnginfo: {"workflow": {}}}
    (entry,) = save(comfy_host, pictures(1), hidden, name=out[8], spec=[out[9]], report=["x"])
    with Image.open(output / entry["subfolder"] / entry["filename"]) as picture:
        assert not picture.text  # type: ignore[attr-defined]


def test_an_interrupt_stops_between_files(comfy_host: Any, output: Path) -> None:
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        save(comfy_host, pictures(2), name=["a", "b"])
    assert not list(output.rglob("*.png"))


def test_hidden_inputs_may_be_missing(comfy_host: Any) -> None:
    texts = comfy_host.pack("host.output.save")._graph_metadata(SimpleNamespace(prompt=None, extra_pnginfo=None))
    assert texts == {}
