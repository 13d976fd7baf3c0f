"""What the trainers' routes of a running ComfyUI (`host_server`) turn away: wrong configs, requests, names, bodies."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import jsonschema
import pytest
from aiohttp.test_utils import TestServer

from comfyui_eridiffusion.tests.nodes.route_calls import (
    EXAMPLES,
    ROOT,
    config,
    conforms,
    post,
    quick,
    refusal,
    request,
)
from comfyui_eridiffusion.workflows.requests import MAX_BODY


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
        *(
            ({"models": {"loaders": {"model": {"class_type": "X", "inputs": {"a": value}}}}}, "models.loaders.model.")
            for value in ([1], math.nan, math.inf)
        ),
    ],
)
async def test_requests_of_another_form_are_named(
    web: aiohttp.ClientSession, change: dict[str, Any], field: str
) -> None:
    error = await refusal(web, 400, "graph", {**request(), **change})
    assert error["kind"] == "request"
    assert error["field"].startswith(field)
    with pytest.raises((jsonschema.ValidationError, ValueError)):  # ValueError: JSON has no NaN
        conforms(json.loads(json.dumps({**request(), **change}, allow_nan=False)), "GraphRequest")


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


async def test_what_the_disk_refuses(comfy_host: Any) -> None:
    """A drive that vanishes, a folder that may not be read: one sentence, with no folder."""
    routes = comfy_host.pack("host.http.routes")

    async def refused(_: aiohttp.web.Request) -> aiohttp.web.Response:
        raise PermissionError(13, "Permission denied", "/home/someone/runs/config")

    app = aiohttp.web.Application()
    app.router.add_get("/runs", routes.answered(refused))
    async with TestServer(app) as server, aiohttp.ClientSession() as web, web.get(server.make_url("/runs")) as answer:
        assert answer.status == 422
        error = conforms(await answer.json(), "Error")["error"]
    assert (error["kind"], "Permission denied" in error["message"]) == ("disk", True)
    assert "/home" not in str(error)


@pytest.mark.parametrize("body", [{"config": "no_such.yaml"}, {"run": "/etc"}, {"run": "no_run", "step": 1}])
@pytest.mark.parametrize("path", ["graph", "queue"])
async def test_errors_name_no_folder_of_this_machine(
    comfy_host: Any, web: aiohttp.ClientSession, path: str, body: dict[str, Any]
) -> None:
    import folder_paths

    _, document = await post(web, path, request(**body))
    assert folder_paths.base_path not in json.dumps(document.get("error", ""))


def test_folders_above_are_named_no_more_than_folders(
    comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import folder_paths

    loras = tmp_path / "deep" / "loras"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(loras)], {".safetensors"}))
    said = comfy_host.pack("host.paths").without_folders(f"{loras}/a; {loras.parent}/b; {tmp_path}/c; /etc/d; /tmp")
    assert said == "loras/a; …/b; …/c; /etc/d; /tmp"


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


@pytest.mark.parametrize("wait", ["-1", "nan", "301", "x", ""])
async def test_wait_out_of_range(web: aiohttp.ClientSession, wait: str) -> None:
    async with web.get("/eridiffusion/prompts/none", params={"wait": wait}) as answer:
        assert answer.status == 400
        assert conforms(await answer.json(), "Error")["error"]["field"] == "wait"


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
