"""The pack as the registry has it, in a ComfyUI that has nothing else of it: what works, and what it leaves behind."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.dev.host_install import ROOT
from comfyui_eridiffusion.dev.host_links import PACK_FOLDER
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.spec import read_spec, read_text
from comfyui_eridiffusion.tests.spec.forms import FORMS
from comfyui_eridiffusion.workflows import build


async def test_all_nodes_a_graph_and_nothing_left_but_pictures(host_server: LocalHost) -> None:
    def files() -> set[Path]:
        """Below ComfyUI's folders and the pack's; what Python compiles is removed with the pack."""
        folders = (host_server.output_dir.parent, host_server.pack)
        return {path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts}

    examples = ROOT / "examples"
    spec = read_spec(examples / "configs" / "sd35.yaml").select("0")
    spec = replace(spec, name="published", items=[replace(spec.items[0], steps=2)])
    graph = build(spec, models=examples / "models" / "sd35.yaml", run="sd35_quix", step=1000).api()
    async with HostClient(host_server.url) as client:
        listed = await client.object_info()
        before = files()  # ComfyUI has made folders of its own when it is asked for its nodes
        result = await client.run(graph)
    ids = json.loads((Path(__file__).with_name("schemas.json")).read_text(encoding="utf-8"))
    assert {listed[name]["python_module"] for name in ids} == {f"custom_nodes.{PACK_FOLDER}"}
    made = files() - before
    (image,) = result.images["save"]
    picture = host_server.output_dir / image.subfolder / image.filename
    assert {path for path in made if path.is_file()} == {picture}
    assert {path for path in made if path.is_dir()} <= set(picture.parents)


async def test_generated_graphs_are_without_fault_to_comfy_lint(host_server: LocalHost) -> None:
    """It opens what looks wrapped, too."""
    linter = pytest.importorskip("comfy_lint.linter")
    async with HostClient(host_server.url) as client:
        listed = await client.object_info()
    schema = importlib.import_module("comfy_lint.schema").normalize(listed)
    for form in FORMS.values():
        spec = read_text(form.text(), **form.arguments())
        described = ROOT / "examples" / "models" / f"{spec.family}.yaml"
        models = described if described.exists() else None
        for graph in (build(spec, models=models, run="flux_zorp", step=50), build(spec, models=models, style="stock")):
            assert linter.coerce_workflow(graph.api()) == graph.api()
            assert linter.lint_workflow(graph.api(), schema) == []
