"""The trainers' routes in a running host: graphs, queued prompts and their files, and what is turned away."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import jsonschema
import pytest
import yaml
from aiohttp.test_utils import TestServer
from PIL import Image

from comfyui_eridiffusion.client.runs import steps_in
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.waiting import until
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.requests import MAX_BODY, GraphRequest, ModelDescription, QueueRequest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
OPENAPI = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
FAMILIES = ("flux", "sd35", "sdxl")


def config(family: str = "flux") -> str:
    return (EXAMPLES / "configs" / f"{family}.yaml").read_text(encoding="utf-8")


def request(family: str = "flux", **more: Any) -> dict[str, Any]:
    """A body as a trainer sends it: the example's config as it is, and the models that `eri --models` takes."""
    models = yaml.safe_load((EXAMPLES / "models" / f"{family}.yaml").read_text(encoding="utf-8"))
    return {"config": config(family), "models": models, **more}


def quick(family: str, steps: int = 2) -> str:
    """The example with fewer sampler steps."""
    text = config(family)
    shorter, count = re.subn(r"sample_steps: \d+", f"sample_steps: {steps}", text)
    assert count == 1
    return shorter


def conforms(document: Any, name: str) -> Any:
    """The document, once it is seen to be what the OpenAPI file promises."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": OPENAPI["components"]}
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


@pytest.fixture
async def web(host_server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host_server.url) as session:
        yield session


async def post(web: aiohttp.ClientSession, path: str, body: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    async with web.post(f"/eridiffusion/{path}", json=body, **options) as answer:
        return answer.status, json.loads(await answer.text() or "{}")


async def refusal(web: aiohttp.ClientSession, status: int, path: str, body: Any, **options: Any) -> dict[str, Any]:
    found, document = await post(web, path, body, **options)
    assert found == status, document
    error: dict[str, Any] = conforms(document, "Error")["error"]
    return error


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


async def test_broken_config_gets_the_readers_message(web: aiohttp.ClientSession) -> None:
    broken = config().replace("sample_steps: 20", "sample_steps: [20")
    line = broken[: broken.index("sample_steps")].count("\n") + 1
    error = await refusal(web, 400, "graph", request(config=broken, source="/home/x/train.yaml"))
    assert error["kind"] == "config"
    assert error["source"] == "train.yaml"
    assert error["line"] in range(line, line + 4)
    assert f"line {error['line']}" in error["message"]
    error = await refusal(web, 400, "queue", request(config=quick("flux", -3)))
    assert (error["kind"], error["line"]) == ("config", line)
    assert error["field"].endswith("sample_steps")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"step": "500"}, "step"),
        ({"step": -1}, "step"),
        ({"unknown": 1}, "unknown"),
        ({"config": ""}, "config"),
        ({"config": None}, "config"),
        ({"run": "a\0b"}, "run"),
        ({"run": " "}, "run"),
        ({"style": "other"}, "style"),
        ({"batch": 0}, "batch"),
        ({"batch": 65}, "batch"),
        ({"batch": "4"}, "batch"),
        ({"models": "/etc/passwd"}, "models"),
        (
            {"models": {"loaders": {"model": {"class_type": "X", "inputs": {"a": [1]}}}}},
            "models.loaders.model.inputs.a",
        ),
    ],
)
async def test_requests_of_another_form_are_named(
    web: aiohttp.ClientSession, change: dict[str, Any], field: str
) -> None:
    error = await refusal(web, 400, "graph", {**request(), **change})
    assert error["kind"] == "request"
    assert error["field"].startswith(field)
    with pytest.raises(jsonschema.ValidationError):
        conforms({**request(), **change}, "GraphRequest")


async def test_text_is_never_taken_for_a_file(web: aiohttp.ClientSession) -> None:
    path = str(EXAMPLES / "configs" / "flux.yaml")
    assert (await refusal(web, 400, "graph", request(config=path)))["kind"] == "not_config"
    kohya = 'pretrained_model_name_or_path = "sd_xl_base_1.0.safetensors"\nsample_prompts = "/etc/passwd"\n'
    error = await refusal(web, 400, "graph", {"config": kohya, "trainer": "kohya", "source": "a.toml"})
    assert error["kind"] == "config"
    assert "root:" not in error["message"]


@pytest.mark.parametrize(
    ("source", "text", "kind"),
    [
        ("compose.yaml", "services:\n  web: 1\n", "not_config"),
        ("package.json", '{"name": "x", "version": "1"}', "not_config"),
        ("letter.txt", "Dear all,\nthe meeting is at noon.\n", "family_unknown"),
        ("broken.yaml", "a: [1,\nb: }", "config"),
    ],
)
async def test_what_is_no_config_is_told_from_a_broken_one(
    web: aiohttp.ClientSession, source: str, text: str, kind: str
) -> None:
    assert (await refusal(web, 400, "graph", {"config": text, "source": source}))["kind"] == kind


async def test_no_json_and_no_object(web: aiohttp.ClientSession) -> None:
    for body in (b"{", b"[]", b"\xff\xfe", b"[" * 100_000):
        headers = {"Content-Type": "application/json"}
        async with web.post("/eridiffusion/graph", data=body, headers=headers) as answer:
            assert answer.status == 400
            assert conforms(await answer.json(), "Error")["error"]["kind"] == "request"


async def test_too_large(web: aiohttp.ClientSession) -> None:
    error = await refusal(web, 413, "graph", request(config=config() + "#" * MAX_BODY))
    assert error["kind"] == "too_large"
    packed = gzip.compress(json.dumps(request(config="#" * (4 * MAX_BODY))).encode())
    assert len(packed) < MAX_BODY // 10
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with web.post("/eridiffusion/graph", data=packed, headers=headers) as answer:
        assert answer.status == 413


@pytest.mark.parametrize("run", ["/etc", "../../../etc", "flux_zorp/../../../etc", str(ROOT / "lora")])
@pytest.mark.parametrize("path", ["graph", "queue"])
async def test_runs_outside_the_roots(web: aiohttp.ClientSession, path: str, run: str) -> None:
    error = await refusal(web, 403, path, request(run=run, step=1))
    assert error["kind"] == "outside"
    assert Path(run).name in error["message"]


@pytest.mark.parametrize("name", ["n" * 300, "x/" * 2100, "half\ud800"], ids=["name", "path", "surrogate"])
async def test_names_that_no_file_can_have(web: aiohttp.ClientSession, name: str) -> None:
    status, _ = await post(web, "graph", request(run=name, step=1))
    assert status in (400, 403)
    if len(name) < 1000 and name.isascii():  # what a request line can hold
        for place in (f"runs/{name}", f"thumbnail?filename={name}", f"runs/flux_zorp?config={name}.yaml"):
            async with web.get(f"/eridiffusion/{place}") as answer:
                conforms(await answer.json(), "Error")
                assert answer.status in (403, 404)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_not_encoded_as_it_says(web: aiohttp.ClientSession, encoding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    async with web.post("/eridiffusion/graph", data=b'{"config": "none"}', headers=headers) as answer:
        assert answer.status == 400
        assert encoding in conforms(await answer.json(), "Error")["error"]["message"]


async def test_a_body_that_never_comes(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = comfy_host.pack("host.http.routes")
    monkeypatch.setattr(routes, "BODY_WITHIN", 0.1)
    app = aiohttp.web.Application()
    app.router.add_post("/graph", routes.answered(routes._graph))
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST /graph HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 408")
        writer.close()


@pytest.mark.parametrize("body", [{"config": "no_such.yaml"}, {"run": "/etc"}, {"run": "no_run", "step": 1}])
@pytest.mark.parametrize("path", ["graph", "queue"])
async def test_errors_name_no_folder_of_this_machine(
    comfy_host: Any, web: aiohttp.ClientSession, path: str, body: dict[str, Any]
) -> None:
    import folder_paths

    _, document = await post(web, path, request(**body))
    assert folder_paths.base_path not in json.dumps(document.get("error", ""))


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_posts_from_other_sites(web: aiohttp.ClientSession, prefix: str) -> None:
    for headers, expected in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": str(web._base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}, 200),
    ):
        async with web.post(f"{prefix}/eridiffusion/graph", json=request(), headers=headers) as answer:
            assert answer.status == expected
    async with web.options("/eridiffusion/queue", headers={"Origin": str(web._base_url).rstrip("/")}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_a_form_can_send_is_refused(web: aiohttp.ClientSession, kind: str) -> None:
    """These content types need no consent of the host's; see the Fetch standard, CORS-safelisted request-header."""
    async with web.post("/eridiffusion/queue", data=json.dumps(request()), headers={"Content-Type": kind}) as answer:
        assert answer.status == 415
        assert "application/json" in conforms(await answer.json(), "Error")["error"]["message"]


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
        ("[deep/my_flux.safetensors", "is not used: models: a.yaml is no YAML"),
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


@pytest.mark.parametrize("wait", ["-1", "nan", "301", "x", ""])
async def test_wait_out_of_range(web: aiohttp.ClientSession, wait: str) -> None:
    async with web.get("/eridiffusion/prompts/none", params={"wait": wait}) as answer:
        assert answer.status == 400
        assert conforms(await answer.json(), "Error")["error"]["field"] == "wait"


def test_openapi_lists_the_routes_and_their_fields(comfy_host: Any) -> None:
    from server import PromptServer

    found = [
        (re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path), route.method.lower())  # OpenAPI has no pattern in a path
        for route in PromptServer.instance.routes
        if "/eridiffusion" in route.path
    ]
    listed = [(path, method) for path, methods in OPENAPI["paths"].items() for method in methods]
    assert sorted(found) == sorted(listed)
    comfy_host.pack("host.http.routes").register()  # once is enough
    assert len([route for route in PromptServer.instance.routes if "/eridiffusion" in route.path]) == len(found)
    schemas = OPENAPI["components"]["schemas"]
    for name, model in (("GraphRequest", GraphRequest), ("QueueRequest", QueueRequest), ("Models", ModelDescription)):
        assert set(schemas[name]["properties"]) == set(model.model_fields)
        needed = {field for field, info in model.model_fields.items() if info.is_required()}
        assert set(schemas[name].get("required", ())) == needed
        defaults = {key: entry["default"] for key, entry in schemas[name]["properties"].items() if "default" in entry}
        assert defaults == {key: model.model_fields[key].default for key in defaults}
    jsonschema.Draft202012Validator.check_schema({"components": OPENAPI["components"]})


def test_a_run_that_is_a_link_out_of_the_roots(
    comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import folder_paths

    loras, outside = tmp_path / "loras", tmp_path / "outside"
    for folder in (loras / "mine", outside):
        folder.mkdir(parents=True)
    (loras / "run").symlink_to(outside)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(loras)], {".safetensors"}))
    routes, errors = comfy_host.pack("host.http.routes"), comfy_host.pack("workflows.requests")
    assert routes._run_name("mine") == "mine"
    for run in ("run", str(loras / "run")):
        with pytest.raises(errors.RequestError, match="link out of the allowed folders") as caught:
            routes._run_name(run)
        assert (caught.value.status, caught.value.kind) == (403, "outside")
