"""What a running ComfyUI takes of a LoRA file: the word of the node itself, on the model that it would sample with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import HostError
from ..lora import read_lora
from ..spec import SampleItem, SampleSpec
from ..workflows import build
from .graphs import descriptions_at, offered_files
from .host_client import HostClient
from .runs import host_run_name

_LORA: Final = "lora"
_SAYS: Final = {"report": 3, "details": 4}  # outputs of EriLoraAtStep


async def ask_host(url: str, path: Path, family: str | None = None, models: Path | None = None) -> dict[str, Any]:
    """The report of LoRA at Step on ComfyUI at `url` about a LoRA file that it sees, too.

    ComfyUI loads the model and the text encoders of the file's family, as it would to sample, and applies the LoRA.

    Args:
        url: the running ComfyUI.
        path: the LoRA file.
        family: the family's id, for a file that does not tell it.
        models: a YAML file that names the model files; None = chosen by name among those that ComfyUI offers.

    Returns `file`, `against`, `models` (the loaders' file names), `report` (text) and `details` (the node's JSON).
    Raises LoraError for what is no LoRA, and HostError where ComfyUI does not offer the file or the node refuses it.
    """
    lora = read_lora(path, family=family)
    if lora.family is None:
        raise HostError("the file holds text encoders alone", remedy="Name its model with --family.", field="family")
    item = SampleItem(index=0, prompt="", width=1024, height=1024, steps=1, seed=0)
    spec = SampleSpec(family=lora.family, trainer="native", items=[item])
    async with HostClient(url) as client:
        info = await client.object_info()
        run = await host_run_name(client, path)
        offered = None if models else offered_files(info)
        graph = build(spec, models, run, offered=offered, described=descriptions_at(url)).api()
        needed = {name: graph[name] for name in _upstream(graph, _LORA)}
        for says, slot in _SAYS.items():
            needed[says] = {"class_type": "PreviewAny", "inputs": {"source": [_LORA, slot]}}
        outputs = (await client.run(needed)).outputs
    report, details = (str(outputs[says]["text"][0]) for says in _SAYS)
    files = {
        name: value
        for node in needed.values()
        for name, value in node["inputs"].items()
        if isinstance(value, str) and Path(value).suffix and name != "run"
    }
    return {"file": str(path), "against": url, "models": files, "report": report, "details": json.loads(details)}


def _upstream(graph: Mapping[str, Any], name: str) -> Iterator[str]:
    """A node and all that it needs; one may come twice."""
    yield name
    for value in graph[name]["inputs"].values():
        if isinstance(value, list):
            yield from _upstream(graph, value[0])
