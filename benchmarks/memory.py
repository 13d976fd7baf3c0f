"""Peak memory with and without EriMemoryPolicy, and with EriSample's answers to an out-of-memory error.

    python benchmarks/memory.py [--json]

Every case runs in a process of its own and reports how far its memory rose above what it was with the models built:
the process's resident memory on a CPU, what torch allocated on a GPU. The models are small ones of the host's own
classes (tests/nodes/small_models.py) at the token counts of a 1024 x 1024 picture.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1 << 20


def start_host() -> None:
    """Make the host importable, on the device that it has."""
    from comfyui_eridiffusion.dev.host_install import find_host, write_shim

    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    sys.argv = sys.argv[:1]
    import torch
    import utils.extra_config  # noqa: F401 - the host's `utils`, before one of its model files puts another there
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def now() -> float:
    """Memory in use, in MiB."""
    import torch

    gc.collect()
    return (torch.cuda.memory_allocated() if torch.cuda.is_available() else _status("VmRSS")) / MIB


def peak_of(work: Callable[[], Any]) -> float:
    """The most memory in use at any moment of `work()`, in MiB."""
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    work()
    return (torch.cuda.max_memory_allocated() if cuda else _status("VmHWM")) / MIB


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, "this benchmark reads /proc: run it on Linux"  # noqa: S101
    return int(found[1]) * 1024


def policed(mode: str, slice_size: int = 1024, tile_size: int = 512, **models: Any) -> Any:
    from comfyui_eridiffusion.host.memory.policy import Models, apply_policy

    given = Models(models.get("model"), None, models.get("vae"))
    return apply_policy(given, mode, slice_size, tile_size)


def run_sampling(model: Any, size: int, batch: int = 1) -> Any:
    import comfy.samplers
    import torch

    from comfyui_eridiffusion.host.sampling.sample import sample
    from comfyui_eridiffusion.tests.nodes import small_models

    class Noise:
        seed = 1

        def generate_noise(self, latent: dict[str, Any]) -> torch.Tensor:
            return torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(1))

    width = small_models.CONTEXT
    positive = small_models.conditioning(width, width, guidance=3.5)
    latent = {"samples": torch.zeros(batch, 16, size, size)}
    euler = comfy.samplers.ksampler("euler")
    return sample(model, positive, positive, Noise(), euler, torch.tensor([1.0, 0.5, 0.0]), latent, 1.0)["samples"]


def attention(slice_size: int) -> dict[str, float]:
    """4096 image tokens through a narrow Flux: attention is most of its memory."""
    from comfyui_eridiffusion.tests.nodes import small_models

    model = small_models.flux_model()
    if slice_size:
        model = policed("attention slicing", slice_size, model=model).model
    run_sampling(model, 16)
    before = now()
    return {"sampling": peak_of(lambda: run_sampling(model, 128)) - before}


def weights(mode: str) -> dict[str, float]:
    """A wide Flux (280 MB) with a LoRA on every matrix, then a VAE: weights are most of their memory."""
    import torch

    from comfyui_eridiffusion.tests.nodes import memory_helpers, small_models

    bare = small_models.flux_model(hidden=1024)
    made = policed(mode, model=memory_helpers.with_lora(bare, 1), vae=memory_helpers.small_vae(16))
    before = now()
    sampling = peak_of(lambda: run_sampling(made.model, 32)) - before
    held = now() - before
    decoding = peak_of(lambda: made.vae.decode(torch.zeros(1, 16, 32, 32))) - before
    return {"sampling": sampling, "between": held, "decoding": decoding}


def halved(limit: int) -> dict[str, float]:
    """A batch of 8 with an error for more than `limit` latents at a time: what halving gains."""
    import comfy.model_management as management

    from comfyui_eridiffusion.tests.nodes import small_models

    model = small_models.flux_model().clone()

    def wrapper(apply_model: Any, params: dict[str, Any]) -> Any:
        if len(params["input"]) > limit:
            raise management.OOM_EXCEPTION("injected")
        return apply_model(params["input"], params["timestep"], **params["c"])

    model.set_model_unet_function_wrapper(wrapper)
    run_sampling(model, 16)
    before = now()
    return {"sampling": peak_of(lambda: run_sampling(model, 64, batch=8)) - before}


def vae(tile: int) -> dict[str, float]:
    """A picture of 1024 x 1024 through a VAE 32 channels wide."""
    import torch

    from comfyui_eridiffusion.tests.nodes import memory_helpers

    made = memory_helpers.small_vae(16)
    if tile:
        made = policed("VAE tiling", tile_size=tile, vae=made).vae
    made.decode(torch.zeros(1, 16, 8, 8))
    before = now()
    return {"decoding": peak_of(lambda: made.decode(torch.zeros(1, 16, 128, 128))) - before}


CASES: dict[str, Callable[[], dict[str, float]]] = {
    "attention: auto": lambda: attention(0),
    "attention: slices of 1024": lambda: attention(1024),
    "attention: slices of 256": lambda: attention(256),
    "weights with LoRA: auto": lambda: weights("auto"),
    "weights with LoRA: offload": lambda: weights("offload"),
    "weights with LoRA: sequential": lambda: weights("sequential"),
    "VAE: auto": lambda: vae(0),
    "VAE: tiles of 512": lambda: vae(512),
    "VAE: tiles of 256": lambda: vae(256),
    "batch of 8: whole": lambda: halved(8),
    "batch of 8: halved to 4": lambda: halved(4),
    "batch of 8: halved to 1": lambda: halved(1),
}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        start_host()
        begin = time.perf_counter()
        say(json.dumps({**CASES[given.case](), "seconds": time.perf_counter() - begin}))
        return 0
    results = {}
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        # freed tensors go back to the system at once, so that resident memory is memory in use
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
        if done.returncode:
            sys.stderr.write(done.stderr)
            return 1
        results[case] = json.loads(done.stdout.splitlines()[-1])
        if not given.json:
            figures = ", ".join(f"{name} {value:.0f} MiB" for name, value in results[case].items() if name != "seconds")
            say(f"{case:32} {figures}, {results[case]['seconds']:.1f} s")
    if given.json:
        say(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
