"""The parts of benchmarks/on_a_gpu.py. Each runs in a process of its own and gives plain numbers."""

from __future__ import annotations

import contextlib
import gc
import logging
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

CHECKPOINTS: Final = 3
#: How LoRA at Step applies a LoRA, beside which the stock loader is measured.
WAYS: Final = {"beside": "beside the weights", "merged": "into the weights"}
#: Sampling steps of each picture of a sweep.
STEPS: Final = 4
#: Latents that a device with room for about two and a half is given at once.
BATCH: Final = 8


def measure(part: str, small: bool) -> dict[str, Any]:
    """What `part` finds here, and on which machine; {"not here": why} where it cannot run."""
    logging.disable(logging.WARNING)
    from comfyui_eridiffusion.benchmarks.lora_models import NotHereError, start_host
    from comfyui_eridiffusion.tests.parity.cells import DATA

    name, *rest = part.split()
    with tempfile.TemporaryDirectory() as folder:
        loras = Path(folder, "loras")
        loras.mkdir()
        try:
            nodes = start_host([loras, DATA / "loras"], dynamic=rest[-1:] == ["dynamic"])
        except NotHereError as error:
            return {"not here": str(error)}
        import folder_paths

        folder_paths.set_output_directory(folder)
        host = Host(nodes, loras, small)
        found: dict[str, Any] = PARTS[name](host, *rest[:-1])
    return {"machine": host.machine(), **found}


class Host(NamedTuple):
    """ComfyUI in this process: its nodes by name, and a folder of LoRAs that it knows; whether the small form runs."""

    nodes: dict[str, Any]
    loras: Path
    small: bool

    def machine(self) -> str:
        """The device, and the versions of torch and ComfyUI."""
        import comfyui_version
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        return f"{device}, torch {torch.__version__}, ComfyUI {comfyui_version.__version__}"

    def device(self) -> Any:
        import comfy.model_management

        return comfy.model_management.get_torch_device()


def noise(host: Host) -> dict[str, Any]:
    """The pack's noise beside torch's own on this device, by layout and dtype; on a CPU its CPU generator."""
    import torch

    from comfyui_eridiffusion.samplers.noise import initial_noise

    cuda = host.device().type == "cuda"
    far: dict[str, float] = {}
    for seed in (0, 42, 2**40 + 1):
        for size in ((64, 64),) if host.small else ((64, 64), (128, 128), (104, 152), (160, 96)):
            for dtype in ("float32", "bfloat16"):
                profile = f"{'torch-cuda' if cuda else 'torch-cpu'}/nchw/{dtype}"
                ours = initial_noise(profile, seed, 1, 16, *size)
                generator = torch.Generator(host.device()).manual_seed(seed)
                kind = {"generator": generator, "device": host.device(), "dtype": getattr(torch, dtype)}
                theirs = torch.randn(1, 16, *size, **kind).cpu()
                unequal = float((ours.float() - theirs.float()).abs().max())
                far[dtype] = max(far.get(dtype, 0.0), unequal)
    return {"generator": "torch-cuda" if cuda else "torch-cpu", "largest difference": far}


def pictures(host: Host) -> dict[str, Any]:
    """The cells of tests/parity on this device in float32 and in bfloat16, beside what the trainers' own code computed
    on a CPU in float32: latent as a share of its largest value, pixels of 255."""
    from comfyui_eridiffusion.tests.nodes.host_calls import new_executor
    from comfyui_eridiffusion.tests.parity import graph_runs

    theirs, most = graph_runs.trainer_samples(), 1 if host.small else None
    tags = ("kohya_flux",) if host.small else ("kohya_flux", "kohya_sd35", "kohya_sdxl", "aitk_flux", "kohya_sd35_lora")
    found: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        with _example_models_in(dtype):
            executor = new_executor()
            for tag in tags:
                ours = graph_runs.graph_samples(graph_runs.cell_graph(tag, most), executor)
                one = graph_runs.worst([graph_runs.apart(_on_cpu(ours[n]), theirs[tag][n]) for n in ours])
                found.setdefault(tag, {})[dtype] = [float(f"{one.latent:.2g}"), one.pixel, round(one.mean_pixel, 3)]
    return {"cells": found}


@contextlib.contextmanager
def _example_models_in(dtype: str) -> Iterator[None]:
    """The example loaders make diffusion models of this type inside."""
    import sys

    import torch

    module = next(
        module for name, module in list(sys.modules.items()) if name.endswith("eri-example-loaders.architecture")
    )
    real = module.model_config
    module.model_config = lambda family: real(family, getattr(torch, dtype))
    yield
    module.model_config = real


def _on_cpu(sample: Any) -> Any:
    from dataclasses import replace

    return replace(sample, noise=sample.noise.cpu(), latent=sample.latent.float().cpu())


class Scene(NamedTuple):
    """A model with random weights and what it is sampled from."""

    model: Any
    positive: Any
    latent: Any
    modules: int


def make_scene(host: Host, family: str, batch: int = 1) -> Scene:
    """At real width and 1024 × 1024, or a small model of the tests; with a run of LoRAs for it."""
    import comfy.model_management
    import torch

    from comfyui_eridiffusion.benchmarks.lora_models import REAL, make_model, write_run
    from comfyui_eridiffusion.tests.nodes import small_models

    if host.small:
        model, positive, _, latent = small_models.inputs_for(family)
        latent = latent.repeat(batch, 1, 1, 1)
    else:
        size = REAL[family]
        model = make_model(family, size)
        tokens = {"flux": 512, "sd35": 154, "sdxl": 77}[family]
        generator = torch.Generator().manual_seed(3)
        cond = torch.randn(1, tokens, size.context, generator=generator).bfloat16()
        pooled = torch.randn(1, size.pooled, generator=generator).bfloat16()
        positive = [[cond, {"pooled_output": pooled, "width": 1024, "height": 1024, "guidance": 3.5}]]
        channels = model.get_model_object("latent_format").latent_channels
        latent = torch.zeros(batch, channels, 128, 128)
    comfy.model_management.unload_all_models()
    return Scene(model, positive, latent, write_run(host.loras / family, model, CHECKPOINTS))


class Timed(NamedTuple):
    """One picture: its latent, seconds in all, and of its fastest step."""

    latent: Any
    total: float
    step: float


def sample(scene: Scene, model: Any, steps: int = STEPS) -> Timed:
    """A picture by ComfyUI's own guider, with a Euler sampler that keeps the time."""
    import comfy.samplers
    import torch

    from comfyui_eridiffusion.benchmarks.lora_models import clock

    seconds: list[float] = []

    def euler(wrapped: Any, x: Any, sigmas: Any, extra_args: dict[str, Any], **_: Any) -> Any:
        for start, end in pairwise(sigmas):
            began = clock()
            denoised = wrapped(x, start * x.new_ones([len(x)]), **extra_args)
            x = x + (x - denoised) / start * (end - start)
            seconds.append(clock() - began)
        return x

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(scene.positive, scene.positive)
    guider.set_cfg(1.0)
    noise = torch.randn(scene.latent.shape, generator=torch.Generator().manual_seed(5))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", steps)
    began = clock()
    latent = guider.sample(noise, scene.latent, comfy.samplers.KSAMPLER(euler), sigmas, disable_pbar=True)
    return Timed(latent.cpu(), clock() - began, min(seconds))


def lora(host: Host, family: str) -> dict[str, Any]:
    """A sweep over a run: LoRA at Step beside the weights and merged, and ComfyUI's own loader; a step without LoRA."""
    import torch

    from comfyui_eridiffusion.benchmarks.lora_models import clock

    scene = make_scene(host, family)
    own = {name: value.cpu().clone() for name, value in _some_weights(scene.model).items()}
    sample(scene, scene.model, 1)
    alone = sample(scene, scene.model)
    loader = host.nodes["LoraLoader"]()

    def ours(step: int, apply: str) -> Any:
        chosen = {"run": family, "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
        return host.nodes["EriLoraAtStep"].execute(model=scene.model, **chosen, apply=apply).args[0]

    def stock(step: int) -> Any:
        return loader.load_lora(scene.model, None, f"{family}/a-step{step:08d}.safetensors", 1.0, 0.0)[0]

    makers: dict[str, Callable[[int], Any]] = {
        "stock": stock, **{way: lambda step, apply=apply: ours(step, apply) for way, apply in WAYS.items()}
    }  # fmt: skip
    found: dict[str, dict[str, float]] = {"none": {"step_ms": _ms(alone.step)}}
    latents: dict[str, list[Any]] = {}
    for way, make in makers.items():
        switches, times = [], []
        began = clock()
        for step in range(1, CHECKPOINTS + 1):
            before = clock()
            timed = sample(scene, make(step))
            # what is not the sampling itself: reading, loading and patching
            switches.append(clock() - before - timed.step * STEPS)
            times.append(timed.step)
            latents.setdefault(way, []).append(timed.latent)
        found[way] = {"sweep_s": round(clock() - began, 3), "switch_ms": _ms(min(switches)), "step_ms": _ms(min(times))}
    sample(scene, scene.model, 1)
    restored = all(torch.equal(own[name], value.cpu()) for name, value in _some_weights(scene.model).items())
    equal = all(torch.equal(one, other) for one, other in zip(latents["merged"], latents["stock"], strict=True))
    return {"modules": scene.modules, "ways": found, "merged equals stock": equal, "base weights restored": restored}


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 2)


def _some_weights(model: Any) -> dict[str, Any]:
    """The model's own weights, of a large one each twentieth."""
    from comfyui_eridiffusion.host.patchers import own_weights

    names = sorted(model.model.state_dict())
    return own_weights(model, names[:: max(1, len(names) // 40)])


def memory(host: Host) -> dict[str, Any]:
    """Peak memory and time of SDXL under each memory policy; then a batch on a device that has not the room for it."""
    from comfyui_eridiffusion.host.memory.policy import Models, apply_policy

    scene = make_scene(host, "sdxl", BATCH)
    one = scene._replace(latent=scene.latent[:1])
    policies = {}
    for mode in ("auto", "offload", "sequential", "attention slicing"):
        model = apply_policy(Models(scene.model, None, None), mode).model
        sample(one, model, 1)
        _peak()
        timed = sample(one, model)
        policies[mode] = {"step_ms": _ms(timed.step), "picture_s": round(timed.total, 3), "peak_mib": _peak()}
    return {"policies": policies, "too large": _without_room(host, scene)}


def _peak() -> float:
    """MiB of the device that torch took at most since the last call; 0 on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return round(peak)


def _without_room(host: Host, scene: Scene) -> dict[str, Any]:
    """EriSample's measures when the batch needs more than torch may take, and whether the pictures are the same."""
    import comfy.model_management
    import torch

    if not torch.cuda.is_available():
        return {"not here": "a CPU has no memory of its own"}
    execute = host.nodes["EriSample"].execute
    given = {
        "cfg": 1.0, "model": scene.model, "positive": scene.positive, "negative": scene.positive,
        "noise": host.nodes["RandomNoise"].execute(noise_seed=5).args[0],
        "sampler": host.nodes["KSamplerSelect"].execute(sampler_name="euler").args[0],
        "sigmas": host.nodes["BasicScheduler"].execute(scene.model, "normal", 2, 1.0).args[0],
    }  # fmt: skip
    _peak()
    few = execute(**given, latent={"samples": scene.latent[:1]})
    for_one = _peak()
    whole = execute(**given, latent={"samples": scene.latent}).args[0]["samples"].cpu()
    for_all = _peak()
    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache()
    limit = for_one + 0.3 * (for_all - for_one)
    torch.cuda.set_per_process_memory_fraction(limit * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    told = _Told()
    logging.disable(logging.NOTSET)
    logging.getLogger().addHandler(told)
    try:
        found = execute(**given, latent={"samples": scene.latent}).args[0]["samples"].cpu()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        logging.getLogger().removeHandler(told)
    del few
    unequal = float((found - whole).abs().max() / whole.abs().max())
    return {"needs_mib": for_all, "limit_mib": round(limit), "measures": told.lines, "unequal": float(f"{unequal:.2g}")}


class _Told(logging.Handler):
    """Keeps what EriSample says of its measures."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("EriSample: Out of memory: "):
            self.lines.append(text.removeprefix("EriSample: Out of memory: "))


PARTS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "noise": noise, "pictures": pictures, "lora": lora, "memory": memory,
}  # fmt: skip
