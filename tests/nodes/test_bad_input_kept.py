"""What an error in one branch of a graph leaves of the other: pictures on disk, results in the host's cache.

The host stops at the first error that rises while a graph runs, and it decides which branch comes first; an output that
it refuses before anything runs is left out, and the others are made.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.tests.nodes.host_calls import new_executor
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import folders, graph  # noqa: F401
from comfyui_eridiffusion.tests.nodes.test_sampling_citizen import cached, failure

#: The good branch: Flux from a config to files, a sheet and its preview. The bad one: SDXL up to its files.
LEFT_OUT = ("sheet", "show")


def branches(**bad: Any) -> dict[str, Any]:
    """Both branches in one graph; `bad`: inputs of the SDXL branch's schedule instead of right ones."""
    whole: dict[str, Any] = {}
    for name, family in (("good", "flux"), ("bad", "sdxl")):
        for key, made in graph(family).items():
            if name == "bad" and key in LEFT_OUT:
                continue
            links = {
                entry: [f"{name}_{value[0]}", value[1]] if isinstance(value, list) else value
                for entry, value in made["inputs"].items()
            }
            whole[f"{name}_{key}"] = {**made, "inputs": links}
        whole[f"{name}_save"]["inputs"]["run"] = name
    whole["bad_sigmas"]["inputs"].update(bad)
    return whole


def checked(prompt: dict[str, Any]) -> tuple[set[str], dict[str, Any]]:
    """The outputs that the host would make, and what it says about the others."""
    import execution

    valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid, (error, node_errors)
    return set(outputs), node_errors


def pictures(root: Path, run: str) -> dict[Path, int]:
    """Every picture of a run and when it was written."""
    return {path: path.stat().st_mtime_ns for path in (root / "output" / run).rglob("*.png")}


@pytest.mark.parametrize("first", ["good", "bad"])
def test_what_was_made_before_an_error_stays(comfy_host: Any, folders: Path, first: str) -> None:  # noqa: F811
    wrong = {"model": ["good_load", 0]}  # Flux has no noise table
    order = sorted(checked(branches(**wrong))[0], key=lambda output: not output.startswith(first))
    executor = new_executor()
    executor.execute(branches(**wrong), "test", {}, order)
    error = failure(executor)
    assert error["node_id"] == "bad_sigmas"
    assert "EriFluxSchedule" in error["exception_message"]
    made, finished = pictures(folders, "good"), set(error["executed"])
    assert len(made) == {"good": 2, "bad": 0}[first]  # it ends before the good branch's pictures are begun
    assert finished

    executor.execute(branches(), "test", {}, order)  # repaired
    assert executor.success
    assert finished <= cached(executor)
    assert "bad_sigmas" not in cached(executor)
    assert len(pictures(folders, "bad")) == 2
    assert len(pictures(folders, "good")) == 2
    assert made.items() <= pictures(folders, "good").items()  # not written again


def test_an_output_refused_beforehand_does_not_stop_the_others(comfy_host: Any, folders: Path) -> None:  # noqa: F811
    prompt = branches(steps=0)
    outputs, errors = checked(prompt)
    assert outputs == {"good_save", "good_show"}
    assert errors["bad_sigmas"]["errors"][0]["extra_info"]["input_name"] == "steps"
    executor = new_executor()
    executor.execute(prompt, "test", {}, list(outputs))
    assert executor.success
    assert len(pictures(folders, "good")) == 2
    assert not pictures(folders, "bad")
