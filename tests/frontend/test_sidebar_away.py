"""What a run's tab says of what goes, is broken, or has no name, and the config that a person chooses for a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.frontend.sidebar_runs import hide, make_sample, show, write_run

PROMPT = "a red fox in the snow"
#: SimpleTuner samples the empty prompt first, and tells its samples apart by names of its own.
TUNER = {
    "model_family": "flux", "model_type": "lora", "pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev",
    "output_dir": "output/leaving", "validation_prompt": PROMPT, "validation_seed": 42,
    "validation_resolution": "512x384", "validation_num_inference_steps": 4, "validation_guidance": 3.5,
}  # fmt: skip
KOHYA = """pretrained_model_name_or_path = "flux1-dev.safetensors"
network_module = "networks.lora_flux"
output_name = "{name}"
sample_prompts = "/elsewhere/prompts.txt"
"""


@pytest.fixture
def runs(runs_dir: Path, canvas: Canvas) -> Iterator[Path]:
    yield runs_dir
    hide(canvas)
    for folder in runs_dir.iterdir():
        shutil.rmtree(folder)


def choose(page: Any, **files: str) -> None:
    """Choose these files as the config of the run that is shown."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose…").click()
    chooser.value.set_files(
        [
            {"name": name.replace("_", "."), "mimeType": "text/plain", "buffer": text.encode()}
            for name, text in files.items()
        ]
    )


def test_a_picture_and_a_run_that_go_while_they_are_looked_at(
    fresh: Canvas, runs: Path, frontend_host: LocalHost
) -> None:
    run = write_run(runs, "leaving", range(100, 400, 100))
    (run / "config.json").write_text(json.dumps(TUNER), encoding="utf-8")
    samples = frontend_host.output_dir / "leaving" / "validation_images"
    pictures = [samples / f"step_{step}_validation_0_512x384.png" for step in (100, 300)]
    make_sample(frontend_host, "leaving", 100, 0)
    made = frontend_host.output_dir / "leaving/samples_step_000100/step_000100_sample_00.png"
    samples.mkdir()
    for picture in pictures:
        shutil.copy(made, picture)
    page = show(fresh, "leaving")
    heads = page.locator(".eri-runs tbody th")
    heads.first.wait_for()
    assert heads.all_inner_texts() == ["(empty prompt)", PROMPT]

    page.get_by_role("gridcell", name=f"{PROMPT}, step 100, made").click()
    viewer = page.locator(".eri-viewer")
    assert viewer.locator(".eri-prompt").inner_text() == PROMPT
    # over plain HTTP browsers have no clipboard for pages
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    viewer.get_by_role("button", name="Copy prompt").click()
    viewer.get_by_text("Copied.").wait_for()
    assert page.evaluate("() => document.activeElement.textContent") == "Copy prompt"
    page.evaluate("() => { delete navigator.clipboard; }")
    pictures[1].unlink()
    viewer.locator(".eri-stage").focus()
    page.keyboard.press("End")
    viewer.locator(".eri-missing").get_by_text("no longer there").wait_for()
    page.locator(".eri-viewer").get_by_label("Step", exact=True).fill("1")
    page.wait_for_function("() => document.querySelector('.eri-viewer img').naturalWidth === 512")
    assert viewer.locator(".eri-missing").inner_text() == ""

    page.route("**/eridiffusion/run*", lambda route: route.abort())  # ComfyUI is restarted
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    page.locator(".eri-runs .eri-bad").get_by_text("ComfyUI does not answer").wait_for()
    viewer.locator(".eri-stage").focus()
    page.keyboard.press("ArrowUp")
    assert viewer.locator(".eri-prompt").inner_text() == "(empty prompt)"
    page.unroute("**/eridiffusion/run*")
    shutil.rmtree(run)
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    page.locator(".p-toast").get_by_text("The run leaving is no longer there").wait_for()
    viewer.wait_for(state="hidden")
    fresh.screenshot("sidebar_gone")
    shutil.rmtree(frontend_host.output_dir / "leaving")
    assert [line for line in fresh.complaints if line.startswith("page:")] == []


def test_a_config_is_chosen_with_what_it_names_or_with_its_model(fresh: Canvas, runs: Path) -> None:
    kept = write_run(runs, "chosen", range(100, 200, 100)) / "eridiffusion.json"
    kept.write_text("{nonsense", encoding="utf-8")
    page = show(fresh, "chosen")
    page.locator(".eri-runs .eri-bad").get_by_text("eridiffusion.json cannot be read").wait_for()
    assert page.locator("#eri-config option").all_inner_texts() == ["none known"]
    kept.unlink()
    config = KOHYA.format(name="chosen")
    toasts = page.locator(".p-toast")
    choose(page, kohya_toml=config)
    toasts.get_by_text("Drop prompts.txt together with it").wait_for()
    choose(page, kohya_toml=config.replace("chosen", "another"), prompts_txt=PROMPT)
    toasts.get_by_text("this is the config of 'another'").wait_for()
    heads = page.locator(".eri-runs tbody th")
    choose(page, prompts_txt=f"{PROMPT} --d 7", kohya_toml=config)
    heads.get_by_text(PROMPT).wait_for()
    assert page.locator("#eri-config option:checked").inner_text() == "kohya.toml (kept with the run)"
    choose(page, prompts_txt="a blue bird --d 7")
    page.locator(".eri-choose").get_by_role("button", name="SDXL").click()
    heads.get_by_text("a blue bird").wait_for()
    assert json.loads(kept.read_text(encoding="utf-8"))["config"]["spec"]["name"] == "chosen"
