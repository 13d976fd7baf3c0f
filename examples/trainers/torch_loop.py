"""Samples from a plain PyTorch loop: two HTTP calls to a ComfyUI that has the pack. Standard library only.

    samples = ComfySamples("http://127.0.0.1:8188", Path("train_flux.yaml"), run="my_run", every=250)
    for step, batch in enumerate(loader, 1):
        ...
        optimizer.step()
        if step % 250 == 0:
            save_file(lora_state_dict(model), f"{run_folder}/my_run_{step:09}.safetensors")
        samples.after_step(step)  # queues; training goes on while ComfyUI works
    for step, files in samples.collect().items():
        print(step, [file["filename"] for file in files if file["kind"] == "image"])

The run folder must lie below one of ComfyUI's loras folders, or below one listed under `eri_runs`.
"""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class ComfySamples:
    """Has a ComfyUI sample checkpoints as they are saved.

    url: of the ComfyUI. config: the training config. run: the run's folder as that ComfyUI sees it. every: training
    steps between samples. models: the base model's files or loaders, None = chosen from what the host offers.
    """

    def __init__(self, url: str, config: Path, run: str, every: int = 1, models: dict[str, Any] | None = None) -> None:
        self.url, self.every = url.rstrip("/"), every
        self._request = {"config": config.read_text(encoding="utf-8"), "source": config.name, "run": run}
        self._request["models"] = models
        self._places: dict[int, str] = {}

    def after_step(self, step: int) -> None:
        """Queue the samples of this step when they are due.

        RuntimeError with the host's reason where it refuses, OSError where none answers.
        """
        if step % self.every == 0:
            self._places[step] = self._call("/eridiffusion/queue", {**self._request, "step": step})["result"]

    def collect(self) -> dict[int, list[dict[str, Any]]]:
        """Wait for everything that was queued: the files by step, each `kind` "image" or "prompt".

        RuntimeError where a step's samples failed.
        """
        done = {}
        for step, place in self._places.items():
            result = {"status": "queued"}
            while result["status"] in ("queued", "running"):
                result = self._call(f"{place}?wait=60")
            if result["status"] != "done":
                raise RuntimeError(f"step {step}: {result.get('error', {}).get('message', result['status'])}")
            done[step] = result["files"]
        self._places = {}
        return done

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["error"]["message"]) from error


def main() -> None:
    """Sample steps that are saved already: torch_loop.py URL CONFIG RUN STEP…"""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("url")
    parser.add_argument("config", type=Path)
    parser.add_argument("run")
    parser.add_argument("step", type=int, nargs="+")
    parser.add_argument("--models", type=Path, help="JSON file with the base model's files or loaders")
    given = parser.parse_args()
    models = None if given.models is None else json.loads(given.models.read_text(encoding="utf-8"))
    samples = ComfySamples(given.url, given.config, given.run, models=models)
    try:
        for step in given.step:
            samples.after_step(step)
        print(json.dumps(samples.collect(), indent=2))  # noqa: T201
    except (RuntimeError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
