"""Requests to the trainers' routes, and what they are held against: docs/openapi.yaml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import yaml

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


async def get(web: aiohttp.ClientSession, path: str) -> tuple[int, dict[str, Any]]:
    async with web.get(path) as answer:
        return answer.status, await answer.json()


async def put(web: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with web.put(f"/eridiffusion/{path}", json=body) as answer:
        return answer.status, await answer.json()


async def post(web: aiohttp.ClientSession, path: str, body: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    async with web.post(f"/eridiffusion/{path}", json=body, **options) as answer:
        return answer.status, json.loads(await answer.text() or "{}")


async def refusal(web: aiohttp.ClientSession, status: int, path: str, body: Any, **options: Any) -> dict[str, Any]:
    found, document = await post(web, path, body, **options)
    assert found == status, document
    error: dict[str, Any] = conforms(document, "Error")["error"]
    return error
