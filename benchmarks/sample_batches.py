"""Eight prompts through EriSample one at a time and in batches: time per image, and how far the results differ.

    python benchmarks/sample_batches.py [--json]

On the small models of tests/nodes/small_models.py, on the CPU in float32: 8 steps of Euler at CFG 3, latents of
16 x 16. The best of several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from comfyui_eridiffusion.benchmarks.stopwatch import best

COUNT = 8
BATCHES = (1, 2, 4, 8)
STEPS = 8


def start_host() -> None:
    """Make the host importable, on the CPU."""
    from comfyui_eridiffusion.dev.host_install import find_host, write_shim

    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    sys.argv = sys.argv[:1]
    import torch
    import utils.extra_config  # noqa: F401 - the host's `utils`, before one of its model files puts another there
    from comfy.cli_args import args

    args.cpu = True
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


class Noise:
    """The host's noise of a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generate_noise(self, latent: dict[str, Any]) -> Any:
        import torch

        return torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(self.seed))


def lists(family: str) -> dict[str, list[Any]]:
    """EriSample's inputs: a prompt and a seed for each image, one value of the rest for all."""
    import comfy.samplers
    import torch

    from comfyui_eridiffusion.tests.nodes import small_models

    model, positive, _, latent = small_models.inputs_for(family)
    width, pooled = positive[0][0].shape[-1], positive[0][1]["pooled_output"].shape[-1]
    levels = torch.linspace(1.0, 0.0, STEPS + 1)
    return {
        "cfg": [3.0],
        "model": [model],
        "positive": [small_models.conditioning(width, pooled, 77, seed=row) for row in range(COUNT)],
        "negative": [small_models.conditioning(width, pooled, 77, seed=COUNT + row) for row in range(COUNT)],
        "noise": [Noise(row) for row in range(COUNT)],
        "sampler": [comfy.samplers.ksampler("euler")],
        "sigmas": [levels * 14.0 if family == "sdxl" else levels],
        "latent": [{"samples": torch.zeros(1, latent.shape[1], 16, 16)}],
    }


def measure(family: str) -> dict[str, dict[str, float]]:
    """By batch size: milliseconds of processor time per image, and the largest difference from single images as a
    share of the largest value."""
    import comfy.utils

    from comfyui_eridiffusion.host.sampling.sample import sample_inputs

    comfy.utils.PROGRESS_BAR_ENABLED = False
    inputs = lists(family)
    single = [made["samples"] for made in sample_inputs({**inputs, "batch_size": [1]})]
    largest = max(float(samples.abs().max()) for samples in single)
    found = {}
    for size in BATCHES:
        made = sample_inputs({**inputs, "batch_size": [size]})
        differences = [float((one - row["samples"]).abs().max()) for one, row in zip(single, made, strict=True)]
        spent = best(lambda size=size: sample_inputs({**inputs, "batch_size": [size]}))  # type: ignore[misc]
        found[str(size)] = {"ms_per_image": round(spent / COUNT, 2), "difference": max(differences) / largest}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    start_host()
    results = {family: measure(family) for family in ("flux", "sd35", "sdxl")}
    if given.json:
        print(json.dumps(results, indent=1))
        return
    for family, sizes in results.items():
        for size, values in sizes.items():
            gain = sizes["1"]["ms_per_image"] / values["ms_per_image"]
            print(f"{family:5} batch {size}: {values['ms_per_image']:7.2f} ms/image, {gain:.2f} x; "
                  f"differs by {values['difference']:.1e} of the largest value")  # fmt: skip


if __name__ == "__main__":
    main()
