"""Graphs whose models the host lacks, in the real front end: it offers them for download, in a dialog or beside
the graph."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyui_eridiffusion.client.graphs import offered_files
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.waiting import PATIENCE
from comfyui_eridiffusion.workflows import Workflow, build

HF = "https://huggingface.co"
FLUX_TEXT = f"{HF}/comfyanonymous/flux_text_encoders/resolve/main"
ENCODERS = {"text_encoders / clip_l.safetensors": FLUX_TEXT, "text_encoders / t5xxl_fp16.safetensors": FLUX_TEXT}
#: Family and variant -> what it has to offer, as "folder / file", and the address of the file's folder.
MISSING: dict[tuple[str, str | None], dict[str, str]] = {
    ("flux", "dev"): {
        "diffusion_models / flux1-dev.safetensors": f"{HF}/Comfy-Org/flux1-dev/resolve/main",
        "vae / ae.safetensors": f"{HF}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae",
        **ENCODERS,
    },
    ("sd35", "medium"): {
        "checkpoints / sd3.5_medium.safetensors": f"{HF}/stabilityai/stable-diffusion-3.5-medium/resolve/main",
        "text_encoders / clip_g.safetensors": (
            f"{HF}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/text_encoders"
        ),
        **ENCODERS,
    },
    ("sdxl", None): {
        "checkpoints / sd_xl_base_1.0.safetensors": f"{HF}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main"
    },
}  # fmt: skip
#: Press every button that names a download; the addresses that the browser would fetch.
PRESS = """() => {
    const found = [], click = HTMLAnchorElement.prototype.click, open = window.open;
    HTMLAnchorElement.prototype.click = function () { found.push(this.href) };
    window.open = address => { found.push(String(address)); return null };
    for (const button of document.querySelectorAll('.p-dialog button, [data-testid="missing-model-download"]'))
        if (/^Download/.test(button.innerText.trim())) button.click();
    HTMLAnchorElement.prototype.click = click; window.open = open;
    return found }"""


def spec_of(family: str, variant: str | None) -> SampleSpec:
    flux = family == "flux"
    item = SampleItem(0, "a", 1024, 1024, 20, seed=1, guidance=3.5 if flux else None, cfg_scale=1.0 if flux else 4.5)
    return SampleSpec(family, "native", [item], variant=variant, name="missing")


def built_for(host: LocalHost, spec: SampleSpec, style: str = "eri") -> Workflow:
    """The graph for what the host offers now, but for the small models of the examples, of which one is an SDXL."""
    with urllib.request.urlopen(f"{host.url}/object_info", timeout=PATIENCE) as answer:
        offered = offered_files(json.load(answer))
    named = {kind: [file for file in files if "_small" not in file] for kind, files in offered.items()}
    return build(spec, style=style, offered=named)


@pytest.mark.parametrize(("family", "variant"), MISSING)
def test_with_the_models_there_is_no_dialog(
    fresh: Canvas, frontend_host: LocalHost, family: str, variant: str | None
) -> None:
    """Guards the test below: the same graphs, the files in their places."""
    workflow = built_for(frontend_host, spec_of(family, variant))
    fresh.load(workflow.ui())
    assert fresh.dialogs() == []
    assert not any("download" in note for note in workflow.notes)


@pytest.fixture(scope="module")
def bare(canvas: Canvas, named_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canvas]:
    """The front end of a host whose named models are gone."""
    folder = tmp_path_factory.mktemp("away")
    moved = {path: folder / f"{path.parent.name}-{path.name}" for path in named_models.rglob("*.safetensors")}
    for path, away in moved.items():
        path.rename(away)
    canvas.reload()
    yield canvas
    for path, away in moved.items():
        away.rename(path)
    canvas.reload()


@pytest.mark.parametrize(("family", "variant"), MISSING)
@pytest.mark.parametrize("style", ["eri", "stock"])
def test_missing_models_are_offered_with_our_links(
    bare: Canvas, frontend_host: LocalHost, family: str, variant: str | None, style: str
) -> None:
    wanted = MISSING[family, variant]
    workflow = built_for(frontend_host, spec_of(family, variant), style)
    notes = " ".join(workflow.notes)
    bare.load(workflow.ui(), "missing")
    assert sorted(bare.missing_models()) == sorted(wanted)
    bare.screenshot(f"missing_{family}_{style}")
    addresses = {f"{folder}/{entry.split(' / ')[1]}" for entry, folder in wanted.items()}
    assert set(bare.page.evaluate(PRESS)) == addresses
    assert all(address in notes for address in addresses), "the note beside the graph has them, too"
    bare.close_dialogs()
