"""The trainers' routes in a running ComfyUI: graphs, queued prompts and their files."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import jsonschema
import pytest
from PIL import Image

from comfyui_eridiffusion.client.runs import steps_in
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.nodes.route_calls import (
    EXAMPLES,
    FAMILIES,
    OPENAPI,
    config,
    conforms,
    post,
    quick,
    refusal,
    request,
)
from comfyui_eridiffusion.tests.waiting import until
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.requests import GraphRequest, ModelDescription, QueueRequest


@pytest.mark.parametrize("family", FAMILIES)
async def test_two_calls_from_config_to_files(host_server: Any, web: aiohttp.ClientSession, family: str) -> None:
    name = read_spec(config(family)).name
    last = steps_in(EXAMPLES / "runs" / name)[-1]
    body = request(family, config=quick(family), run=name, step=last, items="0,2")
    conforms(body, "QueueRequest")
    status, queued = await post(web, "queue", body)
    assert status == 200, queued
    conforms(queued, "Queued")
    async with web.get(queued["result"], params={"wait": "180"}) as answer:
        result = conforms(await answer.json(), "Result")
    assert result["status"] == "done", result
    kinds = ("image", "prompt") if family == "sdxl" else ("image",)  # as EriDiffusion's documents have it
    assert [(file["kind"], file["item"]) for file in result["files"]] == [
        (kind, item) for item in (0, 2) for kind in kinds
    ]
    items = read_spec(quick(family)).select("0,2").items
    images, prompts = result["files"][:: len(kinds)], result["files"][1::2] if len(kinds) > 1 else []
    for file, item in zip(prompts, items if prompts else [], strict=True):
        async with web.get(file["url"]) as answer:
            assert (await answer.read()).decode() == item.prompt
    for file, item in zip(images, items, strict=True):
        on_disk = host_server.output_dir / file["subfolder"] / file["filename"]
        async with web.get(file["url"]) as answer:
            fetched = await answer.read()
        assert fetched == on_disk.read_bytes()
        assert f"{last:06}" in f"{file['subfolder']}/{file['filename']}"
        with Image.open(io.BytesIO(fetched)) as picture:
            assert picture.size == (item.width, item.height)
            assert json.loads(picture.text["workflow"])["nodes"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", FAMILIES)
async def test_graph_is_what_the_command_line_writes(web: aiohttp.ClientSession, family: str) -> None:
    spec = read_spec(config(family))
    status, document = await post(web, "graph", request(family, run=spec.name, step=250))
    assert status == 200, document
    conforms(document, "Graph")
    async with web.get("/object_info") as answer:
        info = await answer.json()
    # read from text, as the route does: where a config came from is part of the spec in the graph
    workflow = build(spec, EXAMPLES / "models" / f"{family}.yaml", spec.name, 250)
    assert document["api"] == workflow.api()
    assert document["ui"] == json.loads(json.dumps(workflow.ui(info)))


async def test_samples_made_at_once(web: aiohttp.ClientSession) -> None:
    status, document = await post(web, "graph", request(batch=4))
    assert status == 200, document
    assert document["api"]["sample"]["inputs"]["batch_size"] == 4
    assert any("at once" in note for note in document["notes"])
    error = await refusal(web, 400, "graph", request(batch=4, style="stock"))
    assert (error["kind"], error["field"]) == ("graph", "batch")


async def test_graph_of_the_route_runs_through_the_hosts_own_prompt(web: aiohttp.ClientSession) -> None:
    """A trainer may change the graph before it queues it; the loras' absolute folder is understood too."""
    run = EXAMPLES / "runs" / "flux_zorp"
    _, document = await post(web, "graph", request(config=quick("flux"), run=str(run), items="1"))
    assert document["api"]["lora"]["inputs"]["run"] == "flux_zorp"
    assert document["api"]["lora"]["inputs"]["mode"] == "latest"
    document["api"]["lora"]["inputs"].update(mode="exact", step=50)
    async with web.post("/prompt", json={"prompt": document["api"]}) as answer:
        prompt_id = (await answer.json())["prompt_id"]
    async with web.get(f"/eridiffusion/prompts/{prompt_id}", params={"wait": "180"}) as answer:
        result = conforms(await answer.json(), "Result")
    assert result["status"] == "done", result
    assert "000050" in result["files"][0]["subfolder"] + result["files"][0]["filename"]


async def test_a_repeated_call_has_the_files_too(web: aiohttp.ClientSession) -> None:
    """Nothing runs the second time; the host's history leaves out cached outputs of prompts without a client."""
    seen = []
    for _ in range(2):
        _, queued = await post(web, "queue", request("sdxl", config=quick("sdxl"), items="3"))
        async with web.get(queued["result"], params={"wait": "180"}) as answer:
            seen.append((await answer.json())["files"])
    assert [file["kind"] for file in seen[0]] == ["image", "prompt"]
    assert seen[0] == seen[1]


async def test_files_of_the_stock_saver(host_server: Any, web: aiohttp.ClientSession) -> None:
    """ComfyUI's own Save Image writes no prompt files; its pictures are listed with their samples all the same."""
    _, queued = await post(web, "queue", request(config=quick("flux"), items="1,3", style="stock"))
    async with web.get(queued["result"], params={"wait": "180"}) as answer:
        result = conforms(await answer.json(), "Result")
    assert result["status"] == "done", result
    assert [(file["kind"], file["item"]) for file in result["files"]] == [("image", 1), ("image", 3)]
    for file in result["files"]:
        assert (host_server.output_dir / file["subfolder"] / file["filename"]).is_file()


async def test_failure_names_the_node(web: aiohttp.ClientSession) -> None:
    """Another family's LoRA is only found out when it is loaded."""
    status, queued = await post(web, "queue", request(config=quick("flux"), run="sdxl_blaff", items="0"))
    assert status == 200, queued
    async with web.get(queued["result"], params={"wait": "180"}) as answer:
        result = conforms(await answer.json(), "Result")
    assert (result["status"], result["files"]) == ("failed", [])
    assert (result["error"]["node"], result["error"]["class_type"]) == ("lora", "EriLoraAtStep")
    assert "sdxl" in result["error"]["message"]


async def test_waiting_running_and_interrupted(web: aiohttp.ClientSession) -> None:
    """Two long prompts: one runs, one waits; without `wait` the answer comes at once."""
    body = request(config=quick("flux", 900), items="0")
    ids = []
    for seed in ("seed: 7", "seed: 8"):
        status, queued = await post(web, "queue", {**body, "config": body["config"].replace("seed: 42", seed)})
        assert status == 200, queued
        ids.append(queued["prompt_id"])
    try:

        async def running() -> bool:
            async with web.get(f"/eridiffusion/prompts/{ids[0]}") as answer:
                return bool(conforms(await answer.json(), "Result")["status"] == "running")

        await until(running, "the first prompt runs")
        async with web.get(f"/eridiffusion/prompts/{ids[1]}", params={"wait": "0.1"}) as answer:
            assert conforms(await answer.json(), "Result")["status"] == "queued"
    finally:
        await web.post("/queue", json={"delete": ids[1:]})
        await web.post("/interrupt", json={"prompt_id": ids[0]})
    async with web.get(f"/eridiffusion/prompts/{ids[0]}", params={"wait": "180"}) as answer:
        assert conforms(await answer.json(), "Result") == {"prompt_id": ids[0], "status": "interrupted", "files": []}
    async with web.get(f"/eridiffusion/prompts/{ids[1]}") as answer:
        assert answer.status == 404
        assert ids[1] in conforms(await answer.json(), "Error")["error"]["message"]


async def test_what_the_host_refuses_names_node_and_field(web: aiohttp.ClientSession) -> None:
    error = await refusal(web, 422, "queue", request(run="flux_zorp", step=51))
    assert (error["kind"], error["node"], error["class_type"]) == ("validation", "lora", "EriLoraAtStep")
    assert "51" in error["message"]
    files = {"clip_l": "text_small.safetensors", "t5xxl": "text_small.safetensors", "vae": "vae16_small.safetensors"}
    models = {"files": {**files, "unet": "none.safetensors"}}
    error = await refusal(web, 422, "queue", {"config": config(), "models": models})
    assert (error["kind"], error["node"], error["field"]) == ("validation", "model", "unet_name")
    assert "details" not in error
    models["files"]["vae"] = "none.safetensors"  # the others are told as well, in the host's order
    error = await refusal(web, 422, "queue", {"config": config(), "models": models})
    assert {error["field"], *re.findall(r"input '(\w+)'", error["details"])} == {"unet_name", "vae_name"}
    async with web.get("/queue") as answer:
        assert (await answer.json())["queue_pending"] == []


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_described_model_runs_without_models_in_the_request(web: aiohttp.ClientSession, family: str) -> None:
    """As a dropped config and the sidebar send it; the graph is the one for the description that lies beside."""
    body = {"config": quick(family), "run": read_spec(config(family)).name, "items": "0"}
    _, given = await post(web, "graph", request(family, **body))
    status, queued = await post(web, "queue", body)
    assert status == 200, queued
    assert f"Model: {family}_small.safetensors is loaded as {family}.yaml, beside it, says." in queued["notes"]
    async with web.get(queued["result"], params={"wait": "180"}) as answer:
        result = await answer.json()
    assert (result["status"], [file["item"] for file in result["files"]][:1]) == ("done", [0]), result
    async with web.get(f"/history/{queued['prompt_id']}") as answer:
        assert (await answer.json())[queued["prompt_id"]]["prompt"][2] == given["api"]


LOADERS = {
    "model": {"class_type": "UNETLoader", "inputs": {"unet_name": "deep/my_flux.safetensors"}},
    "clip": {"class_type": "DualCLIPLoader"},
    "vae": {"class_type": "VAELoader"},
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"loaders": LOADERS}, "is loaded as a.yaml, beside it, says"),
        ({"files": {"unet": "deep/my_flux.safetensors", "t5xxl": "t", "clip_l": "l", "vae": "v"}}, "is loaded as a.y"),
        ({"loaders": {**LOADERS, "vae": {"class_type": "NoSuchVAE"}}}, "this ComfyUI has no node NoSuchVAE"),
        ({"loaders": {"model": LOADERS["model"]}}, "a.yaml, beside deep/my_flux.safetensors, is not used: models.load"),
        ({"family": "sd35", "loaders": LOADERS}, "the models are for 'sd35', the config samples 'flux'"),
        ("[deep/my_flux.safetensors", "is not used: models: cannot read a.yaml, line"),
        ("family: !!bool my_flux.safetensors\nfiles: {}", "the tag tag:yaml.org,2002:bool is refused"),
        ({"name_or_path": "deep/my_flux.safetensors"}, ""),  # a training config
        ({"loaders": {**LOADERS, "model": {"class_type": "X", "inputs": {"a": "my_flux.safetensors.other"}}}}, ""),
        ({"loaders": LOADERS, "files": " " * (64 << 10)}, ""),  # too large
        (None, ""),  # a link out of the model folders
    ],
)
def test_descriptions_beside_a_model(
    comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: Any, said: str
) -> None:
    import folder_paths

    models = tmp_path / "models"
    (models / "deep").mkdir(parents=True)
    (models / "deep" / "my_flux.safetensors").touch()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "diffusion_models", ([str(models)], {".safetensors"}))
    file = models / "deep" / "a.yaml"
    if text is None:
        (tmp_path / "a.yaml").write_text(json.dumps({"loaders": LOADERS}), encoding="utf-8")
        file.symlink_to(tmp_path / "a.yaml")
    else:
        file.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    beside = comfy_host.pack("host.http.descriptions").description_beside
    found, notes = beside(read_spec(config()), "diffusion_models", "deep/my_flux.safetensors")
    assert found == (text if "is loaded as" in said else None)
    assert str(tmp_path) not in str(notes)
    assert [said in note for note in notes] == [True] * bool(said)


def test_openapi_lists_the_routes_and_their_fields(comfy_host: Any) -> None:
    from server import PromptServer

    found = [
        (re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path), route.method.lower())  # OpenAPI has no pattern in a path
        for route in PromptServer.instance.routes
        if "/eridiffusion" in route.path
    ]
    listed = [(path, method) for path, methods in OPENAPI["paths"].items() for method in methods]
    assert sorted(found) == sorted(listed)
    comfy_host.pack("host.http.register").register()  # once is enough
    assert len([route for route in PromptServer.instance.routes if "/eridiffusion" in route.path]) == len(found)
    schemas = OPENAPI["components"]["schemas"]
    for name, model in (("GraphRequest", GraphRequest), ("QueueRequest", QueueRequest), ("Models", ModelDescription)):
        assert set(schemas[name]["properties"]) == set(model.model_fields)
        needed = {field for field, info in model.model_fields.items() if info.is_required()}
        assert set(schemas[name].get("required", ())) == needed
        defaults = {key: entry["default"] for key, entry in schemas[name]["properties"].items() if "default" in entry}
        assert defaults == {key: model.model_fields[key].default for key in defaults}
    jsonschema.Draft202012Validator.check_schema({"components": OPENAPI["components"]})
