"""What `build` puts into a graph, checked against the trainers' documented behaviour; no host needed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.spec import SampleSpec
from comfyui_eridiffusion.tests.counting import calls
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.workflows import WorkflowError, build
from comfyui_eridiffusion.workflows.graph import Graph, Link


def with_item(spec: SampleSpec, **changes: Any) -> SampleSpec:
    return replace(spec, items=[replace(spec.items[0], **changes)])


def inputs(spec: SampleSpec, node: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = build(spec, **options).api()[node]["inputs"]
    return found


# Facts by trainer: T5 lengths, spacing, leading offset and final alpha as their sampling code has them
# (diffusers FluxPipeline 512; ai-toolkit SD3 256; BFL schnell 256, unshifted; ai-toolkit shifts schnell as dev;
# Rust SD 3.5: linspace then shift; ai-toolkit's SDXL scheduler config has steps_offset 0, set_alpha_to_one False).
@pytest.mark.parametrize(
    ("trainer", "family", "changes", "node", "expected"),
    [
        ("native", "flux", {}, "positive", {"t5_length": 512, "weighting": False, "empty": "encode"}),
        ("native", "flux", {"variant": "schnell"}, "positive", {"t5_length": 256}),
        ("native", "flux", {"variant": "schnell"}, "sigmas", {"shifted": False}),
        ("native", "flux", {"variant": "dev"}, "sigmas", {"shifted": True, "base_shift": 0.5, "max_shift": 1.15}),
        ("ai-toolkit", "flux", {"variant": "schnell"}, "sigmas", {"shifted": True}),
        ("ai-toolkit", "flux", {"variant": "schnell"}, "positive", {"t5_length": 512}),
        ("eridiffusion", "flux", {"t5_length": 77}, "positive", {"t5_length": 77}),
        ("eridiffusion", "sd35", {}, "positive", {"t5_length": 154}),
        ("eridiffusion", "sd35", {}, "sigmas", {"spacing": "linear", "shift": 3.0}),
        ("ai-toolkit", "sd35", {}, "positive", {"t5_length": 256}),
        ("ai-toolkit", "sd35", {}, "sigmas", {"spacing": "timesteps", "shift": 1.0}),
        ("eridiffusion", "sdxl", {}, "sigmas", {"spacing": "leading", "offset": 0, "final_alpha": "1"}),
        ("ai-toolkit", "sdxl", {}, "sigmas", {"spacing": "leading", "offset": 0, "final_alpha": "alpha[0]"}),
        ("eridiffusion", "sdxl", {}, "sampler", {"eta": 0.0, "clip_sample": False}),
        ("eridiffusion", "sdxl", {}, "noise", {"profile": "torch-cpu/nchw/float32", "family": "sdxl"}),
        ("ai-toolkit", "flux", {}, "noise", {"profile": "torch-cpu/nchw/bfloat16"}),
        ("eridiffusion", "flux", {}, "save", {"rounding": "truncate", "layout": "native"}),
        ("ai-toolkit", "flux", {"layout": "ai-toolkit"}, "save", {"rounding": "round", "layout": "ai-toolkit"}),
    ],
)
def test_numbers_follow_the_trainer(
    trainer: str, family: str, changes: dict[str, Any], node: str, expected: dict[str, Any]
) -> None:
    found = inputs(sample_spec(family, trainer, **changes), node)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("word", "eta", "final_alpha"), [("ddim", 0.0, "alpha[0]"), ("euler", 0.0, "1"), ("ddpm", 1.0, "1")]
)
def test_sdxl_sampler_words(word: str, eta: float, final_alpha: str) -> None:
    spec = with_item(sample_spec("sdxl", "native"), sampler=word)
    assert inputs(spec, "sampler")["eta"] == eta
    assert inputs(spec, "sigmas")["final_alpha"] == final_alpha


@pytest.mark.parametrize(
    ("trainer", "word", "expected"),
    [
        ("native", "unipc", {"sampler": "unipc", "spacing": "leading", "offset": 1, "karras": False}),
        ("kohya", "k_euler_a", {"sampler": "euler_a", "spacing": "linspace", "clip_sample": False}),
        ("kohya", "heun", {"sampler": "heun", "spacing": "linspace", "clip_sample": True}),
        ("kohya", "pndm", {"sampler": "pndm", "spacing": "leading", "offset": 0}),
        ("ai-toolkit", "pndm", {"sampler": "plms", "spacing": "leading", "offset": 0}),
        ("ai-toolkit", "k_dpmsolver++", {"sampler": "dpmsolver++", "spacing": "leading", "karras": True}),
        ("onetrainer", "DPMPP_SDE_KARRAS", {"sampler": "sde-dpmsolver++", "spacing": "linspace", "karras": True}),
        ("ai-toolkit", "sample_dpmpp_2m", {"sampler": "lms", "spacing": "leading", "karras": False}),
        ("ai-toolkit", "custom_lcm", {"sampler": "custom_lcm"}),
        ("ai-toolkit", "k_dpmsolver", {"sampler": "dpmsolver", "spacing": "leading", "karras": True}),
        ("kohya", "dpmsolver", {"sampler": "dpmsolver", "spacing": "linspace"}),
        ("ai-toolkit", "mean_flow", {"sampler": "mean_flow"}),
        ("simpletuner", "perflow", {"sampler": "perflow"}),
        ("simpletuner", "euler-a", {"sampler": "euler_a", "spacing": "trailing", "clip_sample": False}),
    ],
)
def test_sdxl_words_of_other_schedulers(trainer: str, word: str, expected: dict[str, Any]) -> None:
    spec = with_item(sample_spec("sdxl", trainer), sampler=word)
    found = inputs(spec, "sampler")
    assert {key: found[key] for key in expected} == expected
    assert found["noise"] == inputs(spec, "noise")["profile"]
    assert inputs(spec, "sample")["sigmas"] == ["sampler", 1]


@pytest.mark.parametrize("family", ["flux", "sd35"])
def test_unknown_sampler_is_reported(family: str) -> None:
    spec = sample_spec(family, "ai-toolkit")
    assert any("dpmsolver++" in note for note in build(with_item(spec, sampler="dpmsolver++")).notes)
    assert not any("Sampler" in note for note in build(spec).notes)
    for trainer in ("native", "eridiffusion"):
        with pytest.raises(WorkflowError, match=r"no sampler 'dpmsolver\+\+'.*euler, .*ddim"):
            build(with_item(sample_spec(family, trainer), sampler="dpmsolver++"))


def test_an_unknown_sampler_of_sdxl_is_an_error_that_names_those_known() -> None:
    with pytest.raises(WorkflowError, match=r"sampler.*no sampler 'dpm\+\+'.*ddim, euler, .*unipc"):
        build(with_item(sample_spec("sdxl", "native"), sampler="dpm++"))


def test_unknown_trainer_is_reported() -> None:
    assert any("'someone'" in note for note in build(sample_spec("flux", "someone")).notes)


def test_flux_without_cfg_encodes_no_negative() -> None:
    api = build(sample_spec("flux")).api()
    assert "negative" not in api
    assert "negative" not in api["sample"]["inputs"]
    assert api["sample"]["inputs"]["positive"] == ["guidance", 0]
    assert api["guidance"]["inputs"] == {"conditioning": ["positive", 0], "guidance": ["spec", 7]}


def test_flux_with_cfg_encodes_the_negative_with_guidance() -> None:
    api = build(with_item(sample_spec("flux"), cfg_scale=3.0)).api()
    assert api["negative"]["class_type"] == "EriTripleTextEncode"
    assert api["negative"]["inputs"]["prompt"] == ["spec", 1]
    assert api["sample"]["inputs"]["negative"] == ["negative_guidance", 0]


def test_flux_without_guidance_value_disables_the_embedding() -> None:
    api = build(with_item(sample_spec("flux"), cfg_scale=3.0, guidance=None)).api()
    assert api["guidance"]["class_type"] == api["negative_guidance"]["class_type"] == "FluxDisableGuidance"


def test_extra_prompts_reach_the_positive_only() -> None:
    api = build(with_item(sample_spec("sd35"), prompt_2="for G")).api()
    assert api["positive"]["inputs"]["prompt_2"] == ["spec", 11]
    assert api["positive"]["inputs"]["prompt_3"] == ""
    assert api["negative"]["inputs"]["prompt_2"] == ""


@pytest.mark.parametrize(
    ("run", "step", "expected"),
    [
        ("r", 500, ("r", 500, "exact")),
        ("r", 0, ("r", 0, "exact")),
        ("r", None, ("r", 0, "latest")),
        (None, 500, ("cat_run", 500, "exact")),
        (Path("a") / "b", 1, (str(Path("a") / "b"), 1, "exact")),
    ],
)
def test_lora_node(run: str | Path | None, step: int | None, expected: tuple[str, int, str]) -> None:
    spec = with_item(sample_spec("sdxl"), lora_scale=0.75)
    api = build(spec, None, run, step).api()
    lora = api["lora"]["inputs"]
    assert (lora["run"], lora["step"], lora["mode"]) == expected
    assert lora["strength_model"] == lora["strength_clip"] == 0.75
    assert api["save"]["inputs"]["step"] == ["lora", 2]
    assert api["sample"]["inputs"]["model"] == api["sigmas"]["inputs"]["model"] == ["lora", 0]
    assert api["positive"]["inputs"]["clip"] == api["negative"]["inputs"]["clip"] == ["lora", 1]


@pytest.mark.parametrize("step", [None, 0])
def test_no_run_means_no_lora(step: int | None) -> None:
    """Step 0 asks for that; without a step it is said."""
    workflow = build(sample_spec("sdxl"), None, None, step)
    assert any("no LoRA is loaded" in note for note in workflow.notes) == (step is None)
    api = workflow.api()
    assert "lora" not in api
    assert api["sample"]["inputs"]["model"] == ["model", 0]
    assert api["save"]["inputs"]["step"] == 0


def test_trainer_can_set_the_step_afterwards() -> None:
    workflow = build(sample_spec("flux"), None, "r", 250)
    api = workflow.api()
    api["lora"]["inputs"]["step"] = 500
    assert workflow.api()["lora"]["inputs"]["step"] == 250


def test_open_seeds_are_drawn_and_reported() -> None:
    spec = with_item(sample_spec("flux"), seed=None)
    first, second = build(spec), build(spec)
    seed = first.spec.items[0].seed
    assert isinstance(seed, int)
    assert 0 <= seed < 2**53
    assert seed != second.spec.items[0].seed
    assert any(str(seed) in note for note in first.notes)
    assert f'"seed": {seed}' in first.api()["spec"]["inputs"]["config"]
    assert spec.items[0].seed is None


def test_items_with_other_settings_get_their_own_chain() -> None:
    base = sample_spec("sdxl", "native")
    items = [
        replace(base.items[0], index=index, lora_scale=scale, sampler=sampler)
        for index, (scale, sampler) in enumerate([(1.0, "ddim"), (0.5, "ddim"), (1.0, "ddim"), (1.0, "euler")])
    ]
    workflow = build(replace(base, items=items), None, "r", 10)
    assert workflow.saves == {"save": (0, 2), "save_2": (1,), "save_3": (3,)}
    api = workflow.api()
    assert api["lora_2"]["inputs"]["strength_model"] == 0.5
    assert api["sigmas_3"]["inputs"]["final_alpha"] == "1"
    assert api["sample_2"]["inputs"]["cfg"] == ["spec_2", 6]
    assert api["lora_3"]["inputs"]["model"] == ["model", 0]


def test_config_base_model_names_the_placeholder() -> None:
    spec = sample_spec("sdxl", model_files={"name_or_path": "C:\\models\\my_sdxl.safetensors"})
    workflow = build(spec)
    assert workflow.api()["model"]["inputs"] == {"ckpt_name": "my_sdxl.safetensors"}
    assert any("my_sdxl.safetensors" in note for note in workflow.notes)
    hub = build(
        sample_spec("flux", variant="schnell", model_files={"name_or_path": "black-forest-labs/FLUX.1-schnell"})
    )
    assert hub.api()["model"]["inputs"]["unet_name"] == "flux1-schnell.safetensors"


def test_sd35_takes_what_the_files_offer() -> None:
    files = {"checkpoint": "c", "clip_l": "l", "clip_g": "g", "t5xxl": "t"}
    api = build(sample_spec("sd35"), {"files": files}).api()
    assert api["clip"]["class_type"] == "TripleCLIPLoader"
    assert list(api["clip"]["inputs"].values()) == ["l", "g", "t"]
    assert api["decode"]["inputs"]["vae"] == ["model", 2]
    two = build(sample_spec("sd35"), {"files": {"checkpoint": "c", "clip_l": "l", "clip_g": "g", "vae": "v"}}).api()
    assert two["clip"]["inputs"] == {"clip_name1": "l", "clip_name2": "g", "type": "sd3"}
    assert two["decode"]["inputs"]["vae"] == ["vae", 0]


@pytest.mark.parametrize(
    ("models", "part"),
    [
        ({"family": "sdxl", "files": {"checkpoint": "c"}}, "models.family"),
        ({"files": {}, "loaders": {}}, "models"),
        ({}, "models"),
        ({"files": {"unett": "x"}}, "models.files"),
        ({"files": {"unet": 3}}, "models.files.unet"),
        ({"files": {"unet": "u", "vae": "v", "clip_l": "l"}}, "t5xxl"),
        ({"files": {"unet": "u", "clip_l": "l", "t5xxl": "t"}}, "VAE"),
        ({"files": {"vae": "v"}}, "model"),
        ({"loaders": {"model": {"class_type": "X"}}}, "models.loaders.clip"),
        ({"loaders": {"model": {"inputs": {}}}}, "models.loaders.model"),
        ({"loaders": {"model": {"class_type": "X", "inputs": {"a": [1]}}}}, "models.loaders.model.inputs.a"),
        ({"loaders": {"model": {"class_type": "X", "output": "0"}}}, "models.loaders.model"),
        ("/nowhere/models.yaml", "/nowhere/models.yaml"),
    ],
)
def test_bad_models_are_named(models: Any, part: str) -> None:
    with pytest.raises(WorkflowError, match=part):
        build(sample_spec("flux"), models)


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "a: [", "!!python/object:os.system {}", "\0", "[" * 3000, "files: 2026-13-01", "# " + "x" * (5 << 20)],
    ids=lambda text: text[:20],
)
def test_bad_models_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WorkflowError, match=r"models\.yaml"):
        build(sample_spec("flux"), path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no file without an end here")
def test_a_device_is_no_models_file() -> None:
    with pytest.raises(WorkflowError, match="/dev/zero: this is not a regular file"):
        build(sample_spec("flux"), Path("/dev/zero"))


@pytest.mark.parametrize(
    ("spec", "options", "part"),
    [
        (with_item(sample_spec("flux"), width=1023), {}, r"items\[0\]\.width"),
        (with_item(sample_spec("flux"), height=8), {}, r"items\[0\]\.height"),
        (replace(sample_spec("flux"), items=[]), {}, r"spec\.items"),
        (replace(sample_spec("flux"), family="sd15"), {}, r"spec\.family"),
        (sample_spec("flux"), {"style": "fancy"}, "style"),
        (sample_spec("flux"), {"step": -1}, "step"),
        (sample_spec("flux"), {"batch": -1}, "batch is -1"),
        (sample_spec("flux"), {"batch": 65}, "Give 1 to 64"),
        (sample_spec("flux"), {"batch": 2, "style": "stock"}, "use style eri"),
    ],
)
def test_bad_input_is_named(spec: SampleSpec, options: dict[str, Any], part: str) -> None:
    with pytest.raises(WorkflowError, match=part):
        build(spec, **options)


def test_samples_are_made_one_by_one_unless_asked_otherwise() -> None:
    spec = sample_spec("flux")
    items = [replace(spec.items[0], index=index, lora_scale=1.0 - index) for index in range(2)]
    for options, size in (({}, 1), ({"batch": 1}, 1), ({"batch": 8}, 8)):
        made = build(replace(spec, items=items), **options)
        sizes = [node["inputs"]["batch_size"] for node in made.api().values() if node["class_type"] == "EriSample"]
        assert sizes == [size, size]
        assert any("at once" in note for note in made.notes) == (size > 1)
    assert build(spec, style="stock", batch=1).api()


def test_graph_refuses_dangling_links_and_taken_ids() -> None:
    graph = Graph()
    node = graph.add("a", "VAELoader", "A", vae_name="v")
    with pytest.raises(KeyError, match="nowhere"):
        graph.add("b", "VAEDecode", "B", vae=Link("nowhere", 0))
    with pytest.raises(KeyError, match="taken"):
        graph.add("a", "VAELoader", "A", vae_name="v")
    with pytest.raises(KeyError, match="image"):
        node.out("image")


def test_the_work_grows_as_the_prompts_do() -> None:
    base = sample_spec("sd35")

    def work(prompts: int) -> int:
        items = [replace(base.items[0], index=i, prompt=f"prompt {i} " + "word " * 40) for i in range(prompts)]
        return calls(lambda: build(replace(base, items=items)).api())

    work(1)
    assert work(400) < 2.2 * work(200)


def test_building_needs_neither_torch_nor_the_host() -> None:
    code = (
        "import sys; from comfyui_eridiffusion.spec import SampleItem, SampleSpec;"
        "from comfyui_eridiffusion.workflows import build;"
        "build(SampleSpec('sdxl', 'eridiffusion', [SampleItem(0, 'a', 64, 64, 4, seed=1)])).api();"
        "print([name for name in ('torch', 'comfy', 'folder_paths', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("image", "source"),
    [(None, "train.yaml"), ("eridiffusion/brought.png", "train.yaml"), ("beside.png", "/home/me/secret/train.yaml")],
)
def test_a_graph_names_its_config_without_folders(image: str | None, source: str) -> None:
    """Pictures are passed on, with the graph in them; only images beside the config need its folder."""
    spec = with_item(replace(sample_spec("flux"), variant="kontext"), control_image=image)
    spec = replace(spec, source="/home/me/secret/train.yaml")
    assert json.loads(inputs(spec, "spec")["config"])["source"] == source
