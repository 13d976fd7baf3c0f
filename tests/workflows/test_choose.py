"""Model files chosen among what a host offers, under the names they are published with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.workflows import WorkflowError, build, choose_models

#: A host with files of all families and of their relatives, names as their publishers gave them.
OFFERED = {
    "checkpoints": [
        "sd3.5_large.safetensors", "sd3.5_large_turbo.safetensors", "sd3.5_medium.safetensors",
        "sd3.5_large_fp8_scaled.safetensors", "sd_xl_base_1.0.safetensors", "sd_xl_refiner_1.0.safetensors",
        "sd_xl_turbo_1.0.safetensors", "v1-5-pruned-emaonly.safetensors", "folder/my_sdxl.safetensors",
    ],
    "diffusion_models": [
        "flux1-dev.safetensors", "flux1-dev-fp8.safetensors", "flux1-schnell.safetensors", "flux1-fill-dev.safetensors",
        "flux1-dev-kontext_fp8_scaled.safetensors", "flux2_dev_fp8mixed.safetensors", "wan2.1_t2v_1.3B.safetensors",
    ],
    "text_encoders": [
        "clip_g.safetensors", "clip_l.safetensors", "clip_l_hidream.safetensors", "t5xxl_fp16.safetensors",
        "t5xxl_fp8_e4m3fn_scaled.safetensors", "umt5_xxl_fp16.safetensors", "qwen_3_4b.safetensors",
    ],
    "vae": ["ae.safetensors", "flux2-vae.safetensors", "wan_2.1_vae.safetensors"],
    "loras": ["my_run/flux_lora_step250.safetensors", "my_run/flux_lora_step500.safetensors", "other.safetensors"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "variant", "kind", "file"),
    [
        ("flux", "dev", "unet", "flux1-dev.safetensors"),
        ("flux", None, "unet", "flux1-dev.safetensors"),
        ("flux", "kontext", "unet", "flux1-dev-kontext_fp8_scaled.safetensors"),
        ("flux", "schnell", "unet", "flux1-schnell.safetensors"),
        ("sd35", "large", "checkpoint", "sd3.5_large.safetensors"),
        ("sd35", "large-turbo", "checkpoint", "sd3.5_large_turbo.safetensors"),
        ("sd35", "medium", "checkpoint", "sd3.5_medium.safetensors"),
    ],
)
def test_model_of_family_and_variant(family: str, variant: str | None, kind: str, file: str) -> None:
    description, notes = choose_models(sample_spec(family, variant=variant), OFFERED)
    assert description["files"][kind] == file
    assert description["files"]["clip_l"] == "clip_l.safetensors"
    assert description["files"]["t5xxl"] == "t5xxl_fp16.safetensors"
    assert description["files"].get("vae") == ("ae.safetensors" if family == "flux" else None)
    assert any("t5xxl_fp8_e4m3fn_scaled.safetensors" in note for note in notes), "the other choice is named"


def test_the_file_that_the_config_names_comes_first() -> None:
    spec = sample_spec("sdxl", model_files={"name_or_path": "C:\\models\\my_sdxl.safetensors"})
    assert choose_models(spec, OFFERED)[0]["files"] == {"checkpoint": "folder/my_sdxl.safetensors"}


def test_what_is_missing_has_its_download_in_the_notes() -> None:
    workflow = build(sample_spec("flux", variant="dev"), offered={**OFFERED, "diffusion_models": [], "vae": []})
    assert workflow.api()["model"]["inputs"]["unet_name"] == "flux1-dev.safetensors"
    text = " ".join(workflow.notes)
    assert "https://huggingface.co/Comfy-Org/flux1-dev/resolve/main/flux1-dev.safetensors" in text
    assert "models/vae" in text
    assert "clip_l: clip_l.safetensors" in text


@pytest.mark.parametrize(
    ("family", "variant", "count"),
    [("flux", "dev", 4), ("flux", "schnell", 4), ("sd35", "medium", 4), ("sdxl", None, 1)],
)
@pytest.mark.parametrize("style", ["eri", "stock"])
def test_a_host_without_models_gets_named_placeholders_with_their_downloads(
    family: str, variant: str | None, count: int, style: str
) -> None:
    """Files of other families do not count; node, note and download metadata agree on every file."""
    others = {"flux": "checkpoints", "sd35": "diffusion_models", "sdxl": "diffusion_models"}
    offered = {others[family]: OFFERED[others[family]]}
    workflow = build(sample_spec(family, variant=variant), style=style, offered=offered)
    loaders = {"UNETLoader", "CheckpointLoaderSimple", "DualCLIPLoader", "TripleCLIPLoader", "VAELoader"}
    named = {
        value
        for node in workflow.api().values()
        if node["class_type"] in loaders
        for value in node["inputs"].values()
        if str(value).endswith(".safetensors")
    }
    entries = [entry for node in workflow.ui()["nodes"] for entry in node["properties"].get("models", ())]
    assert len(named) == len(entries) == count
    assert {entry["name"] for entry in entries} == named
    for entry in entries:
        assert entry["url"].startswith("https://huggingface.co/")
        assert entry["url"].endswith("/" + entry["name"])
        assert any(f"{entry['url']} into models/{entry['directory']}" in note for note in workflow.notes)


def test_of_several_models_that_fit_the_choice_and_the_others_are_named() -> None:
    (note,) = [note for note in choose_models(sample_spec("sd35", variant="large"), OFFERED)[1] if "Model" in note]
    assert note.index("sd3.5_large.safetensors") < note.index("sd3.5_large_fp8_scaled.safetensors")
    assert "also fitting" in note
    assert "turbo" not in note


def test_a_less_exact_file_is_taken_where_it_is_the_only_one() -> None:
    offered = OFFERED | {"diffusion_models": ["flux1-dev-fp8.safetensors", "flux1-schnell.safetensors"]}
    files = choose_models(sample_spec("flux", variant="dev"), offered)[0]["files"]
    assert files["unet"] == "flux1-dev-fp8.safetensors"


def test_only_another_variant_is_there_so_it_is_named_and_not_taken() -> None:
    offered = OFFERED | {"diffusion_models": ["flux1-schnell.safetensors"]}
    description, notes = choose_models(sample_spec("flux", variant="dev"), offered)
    assert description["files"]["unet"] == "flux1-dev.safetensors"
    assert any("flux1-schnell.safetensors, of another variant" in note and "https://" in note for note in notes)


EXAMPLES = ["flux_small.safetensors", "sd35_small.safetensors", "sdxl_small.safetensors"]


@pytest.mark.parametrize("kind", ["checkpoints", "diffusion_models"])
@pytest.mark.parametrize(
    ("family", "variant", "file"),
    [
        ("sdxl", None, "sd_xl_base_1.0.safetensors"),
        ("flux", None, "flux1-dev.safetensors"),
        ("sd35", "", "sd3.5_medium.safetensors"),
    ],
)
def test_the_example_models_do_not_stand_in_for_real_ones(
    family: str, variant: str | None, file: str, kind: str
) -> None:
    """A host that `eri` starts offers its examples in every model folder, beside the user's own files in any one."""
    offered = {folder: list(EXAMPLES) for folder in ("checkpoints", "diffusion_models", "text_encoders", "vae")}
    offered[kind].append(file)
    spec = sample_spec(family, variant=variant)
    chosen = choose_models(spec, offered)[0]["files"]
    assert chosen["checkpoint" if kind == "checkpoints" else "unet"] == file
    assert not set(EXAMPLES) & set(chosen.values())


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_an_example_model_is_taken_where_the_config_names_it_or_nothing_else_is_there(family: str) -> None:
    small = f"{family}_small.safetensors"
    offered = {"checkpoints": [*OFFERED["checkpoints"], *EXAMPLES], "diffusion_models": EXAMPLES}
    named = read_spec(Path(__file__).parents[2] / "examples" / "configs" / f"{family}.yaml")
    assert small in choose_models(named, offered)[0]["files"].values()
    files, notes = choose_models(sample_spec(family, variant=None), {"checkpoints": EXAMPLES})
    assert files["files"]["checkpoint"] == small
    (note,) = [note for note in notes if note.startswith("Model: ")]
    assert f"{small}, by its name a small stand-in" in note
    assert "https://huggingface.co/" in note


def stock(family: str = "flux", run: str | None = None, step: int | None = None, **changes: Any) -> Any:
    return build(sample_spec(family, **changes), None, run, step, "stock", offered=OFFERED)


def test_stock_style_has_no_node_of_the_pack() -> None:
    for family in ("flux", "sd35", "sdxl"):
        classes = {node["class_type"] for node in stock(family).api().values()}
        assert not [name for name in classes if name.startswith("Eri")]


@pytest.mark.parametrize(("step", "file"), [(250, "250"), (500, "500"), (None, "500")])
def test_stock_lora_is_the_steps_file(step: int | None, file: str) -> None:
    lora = stock(run="my_run", step=step).api()["lora"]["inputs"]
    assert lora["lora_name"] == f"my_run/flux_lora_step{file}.safetensors"


def test_stock_lora_of_a_step_that_is_not_there() -> None:
    with pytest.raises(WorkflowError, match="250, 500"):
        stock(run="my_run", step=300)
    assert "lora" not in stock(run="my_run", step=0).api()


def test_stock_says_what_it_cannot_match() -> None:
    text = " ".join(stock("sdxl", trainer="ai-toolkit").notes)
    assert "sigma 0" in text
    assert "offset 0" in text
    assert "bfloat16" in " ".join(stock("flux", trainer="ai-toolkit", precision="bfloat16").notes)


def test_stock_prompts_mean_themselves() -> None:
    spec = sample_spec("sdxl")
    item = vars(spec.items[0]) | {"prompt": "a (cat:1.2) {x|y}"}
    workflow = build(sample_spec("sdxl", items=[type(spec.items[0])(**item)]), style="stock", offered=OFFERED)
    api = workflow.api()
    assert api["prompt_1"]["inputs"]["text"] == ["text", 0]
    assert api["text"]["class_type"] == "PrimitiveStringMultiline"
    assert api["text"]["inputs"]["value"] == "a \\(cat:1.2\\) {x|y}"
