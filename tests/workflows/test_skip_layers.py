"""SD 3.5's skip-layer guidance in generated graphs: only where the spec asks for it, through the host's own node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfyui_eridiffusion.spec import SampleItem, SampleSpec, read_spec
from comfyui_eridiffusion.workflows import WorkflowError, build

ITEM = SampleItem(0, "a heron", 1024, 1024, 40, seed=1, cfg_scale=5.0)
MEDIUM = SampleSpec("sd35", "native", [ITEM], variant="medium")
SKIPPED = replace(MEDIUM, sampling={"skip_layers": "7, 8, 9"})


def test_off_unless_asked_for_and_said_so() -> None:
    workflow = build(MEDIUM)
    assert all(node["class_type"] != "SkipLayerGuidanceSD3" for node in workflow.api().values())
    assert any("skip_layers" in note for note in workflow.notes)
    assert not any("skip_layers" in note for note in build(replace(MEDIUM, variant="large")).notes)
    assert not any("skip_layers" in note for note in build(SKIPPED).notes)


@pytest.mark.parametrize("run", [None, "run_a"])
def test_stabilitys_settings_between_lora_and_sampler(run: str | None) -> None:
    """Stability's sd3.5 inference code: Medium skips layers 7, 8 and 9 with scale 2.5 from 0.01 to 0.20 of the run."""
    api = build(SKIPPED, run=run, step=500 if run else None).api()
    assert api["skip_layers"]["class_type"] == "SkipLayerGuidanceSD3"
    assert api["skip_layers"]["inputs"] == {
        "model": ["lora" if run else "model", 0],
        "layers": "7, 8, 9",
        "scale": 2.5,
        "start_percent": 0.01,
        "end_percent": 0.2,
    }
    assert api["sample"]["inputs"]["model"] == ["skip_layers", 0]


def test_stock_style_has_it_after_the_shift() -> None:
    api = build(SKIPPED, style="stock").api()
    found = {node["class_type"]: (name, node) for name, node in api.items()}
    name, node = found["SkipLayerGuidanceSD3"]
    assert api[node["inputs"]["model"][0]]["class_type"] == "ModelSamplingSD3"
    assert found["KSampler"][1]["inputs"]["model"] == [name, 0]


def test_canvas_and_settings_of_ones_own() -> None:
    settings = {"skip_layers": "3,4", "skip_scale": 3.0, "skip_start": 0.05, "skip_end": 0.5}
    spec = read_spec(replace(MEDIUM, sampling=settings).to_json())
    workflow = build(spec)
    inputs = workflow.api()["skip_layers"]["inputs"]
    assert list(inputs.values())[1:] == ["3,4", 3.0, 0.05, 0.5]
    inside = workflow.ui()["definitions"]["subgraphs"][0]["nodes"]
    node = next(node for node in inside if node["type"] == "SkipLayerGuidanceSD3")
    assert node["widgets_values"] == ["3,4", 3.0, 0.05, 0.5]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SKIPPED, family="flux", variant="dev"), r"skip_layers.*SD 3\.5, not flux"),
        (replace(MEDIUM, sampling={"skip_layers": "middle"}), "names no layers"),
    ],
)
def test_what_cannot_be_is_refused(spec: SampleSpec, message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        build(spec)
