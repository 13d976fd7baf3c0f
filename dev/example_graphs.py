"""The example workflows of the pack: what a person wires by hand, one graph per job.

`python dev/tasks.py example-workflows` writes them to `example_workflows/`, where ComfyUI finds them for Templates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..families import FLUX, SD35, SDXL
from ..spec import SampleItem, SampleSpec
from ..workflows.builder import build, config_text
from ..workflows.canvas.ui import write
from ..workflows.graph import Graph, Link, Literal
from ..workflows.models import add_loaders

_FLUX_FILES, _SD35_FILES, _SDXL_FILES = (
    {part: file.name for part, file in family.files.items()} for family in (FLUX, SD35, SDXL)
)


@dataclass(frozen=True)
class Example:
    """One example: file name without suffix, family, its graph, and the note on its canvas."""

    name: str
    family: str
    graph: Graph
    note: str

    def ui(self) -> dict[str, Any]:
        """The canvas's JSON."""
        return write(self.graph, note=self.note)


def examples() -> list[Example]:
    """All examples, in the order of the README."""
    return [make() for make in _EXAMPLES]


def _encode(graph: Graph, node_id: str, title: str, clip: Link, text: str | Link, **changes: Literal) -> Link:
    settings: dict[str, Literal | Link] = {
        "prompt": text, "prompt_2": "", "prompt_3": "", "t5_length": 0, "weighting": False, "empty": "encode",
        "width": 1024, "height": 1024,
    }  # fmt: skip
    return graph.add(node_id, "EriTripleTextEncode", title, clip=clip, **(settings | changes)).out("conditioning")


def _noise(graph: Graph, family: str, seed: int | Link) -> Link:
    node = graph.add("noise", "EriTrainerNoise", "Noise", seed=seed, profile="torch-cpu/nchw/float32", family=family)
    return node.out("noise")


def _euler(graph: Graph) -> Link:
    node = graph.add("sampler", "EriFlowEulerSampler", "Euler", s_churn=0.0, s_tmin=0.0, s_tmax=1.0, s_noise=1.0)
    return node.out("sampler")


def _latent(graph: Graph, kind: str = "EmptySD3LatentImage") -> Link:
    return graph.add("latent", kind, "Empty latent", width=1024, height=1024, batch_size=1).out("latent")


def _flux_sigmas(graph: Graph, steps: int, *, shifted: bool = True, denoise: float = 1.0) -> Link:
    node = graph.add(
        "sigmas", "EriFluxSchedule", "Flux schedule", steps=steps, width=1024, height=1024, base_shift=0.5,
        max_shift=1.15, shifted=shifted, denoise=denoise,
    )  # fmt: skip
    return node.out("sigmas")


def _flow_sigmas(graph: Graph, steps: int | Link) -> Link:
    node = graph.add("sigmas", "EriFlowSchedule", "Flow schedule", steps=steps, shift=3.0, spacing="timesteps")
    return node.out("sigmas")


def _sample(graph: Graph, vae: Link, cfg: float | Link, **inputs: Link) -> Link:
    """EriSample and VAEDecode; returns the images."""
    sample = graph.add("sample", "EriSample", "Sample", cfg=cfg, **inputs)
    return graph.add("decode", "VAEDecode", "Decode", samples=sample.out("latent"), vae=vae).out("image")


def _save(graph: Graph, images: Link, name: str) -> None:
    graph.add("save", "SaveImage", "Save image", images=images, filename_prefix=f"eridiffusion/{name}")


def _zeroed(graph: Graph, conditioning: Link) -> Link:
    return graph.add("negative", "ConditioningZeroOut", "No negative", conditioning=conditioning).out("conditioning")


def _guided(graph: Graph, conditioning: Link, guidance: float | Link = 3.5) -> Link:
    node = graph.add("guidance", "FluxGuidance", "Embedded guidance", conditioning=conditioning, guidance=guidance)
    return node.out("conditioning")


def _sdxl_ddim() -> Example:
    graph = Graph()
    loaded = add_loaders(graph, {"files": _SDXL_FILES}, SDXL.id)
    positive = _encode(graph, "positive", "Prompt", loaded.clip, "a red circle on a blue background")
    negative = _encode(graph, "negative", "Negative prompt", loaded.clip, "")
    sigmas = graph.add(
        "sigmas", "EriDDIMSchedule", "DDIM schedule", model=loaded.model, steps=30, spacing="leading", offset=1,
        zero_terminal_snr=False, final_alpha="alpha[0]",
    )  # fmt: skip
    sampler = graph.add(
        "sampler", "EriDDIMSampler", "DDIM", eta=0.0, clip_sample=False, clip_range=1.0,
        use_clipped_model_output=False, spacing="leading", offset=1,
    )  # fmt: skip
    images = _sample(
        graph, loaded.vae, 5.0, model=loaded.model, positive=positive, negative=negative,
        noise=_noise(graph, SDXL.id, 42), sampler=sampler.out("sampler"), sigmas=sigmas.out("sigmas"),
        latent=_latent(graph, "EmptyLatentImage"),
    )  # fmt: skip
    _save(graph, images, "sdxl_ddim")
    return Example(
        "sdxl_ddim", SDXL.id, graph,
        "**SDXL with real DDIM.** Schedule and sampler give the result of diffusers' DDIMScheduler; ComfyUI's own "
        "`ddim` is Euler.",
    )  # fmt: skip


def _sd35_triple() -> Example:
    graph = Graph()
    loaded = add_loaders(graph, {"files": _SD35_FILES}, SD35.id)
    text = "a green star on a yellow background"
    positive = _encode(
        graph, "positive", "Prompt", loaded.clip, text, prompt_2=text,
        prompt_3="a large green star on a yellow background", t5_length=256,
    )  # fmt: skip
    negative = _encode(graph, "negative", "Negative prompt", loaded.clip, "", t5_length=256)
    images = _sample(
        graph, loaded.vae, 4.5, model=loaded.model, positive=positive, negative=negative,
        noise=_noise(graph, SD35.id, 42), sampler=_euler(graph), sigmas=_flow_sigmas(graph, 28), latent=_latent(graph),
    )  # fmt: skip
    _save(graph, images, "sd35_triple_encode")
    return Example(
        "sd35_triple_encode", SD35.id, graph,
        "**SD 3.5, three text encoders, CFG.** `prompt` goes to CLIP-L, `prompt_2` to CLIP-G, `prompt_3` to T5 with "
        "exactly 256 tokens. An empty one takes the first prompt.",
    )  # fmt: skip


def _sd35_turbo() -> Example:
    graph = Graph()
    loaded = add_loaders(graph, {"files": {**_SD35_FILES, "checkpoint": "sd3.5_large_turbo.safetensors"}}, SD35.id)
    positive = _encode(graph, "positive", "Prompt", loaded.clip, "a white cross on a purple background", t5_length=256)
    images = _sample(
        graph, loaded.vae, 1.0, model=loaded.model, positive=positive, negative=_zeroed(graph, positive),
        noise=_noise(graph, SD35.id, 42), sampler=_euler(graph), sigmas=_flow_sigmas(graph, 4), latent=_latent(graph),
    )  # fmt: skip
    _save(graph, images, "sd35_large_turbo")
    return Example(
        "sd35_large_turbo", SD35.id, graph,
        "**SD 3.5 Large Turbo.** Four steps, CFG 1: one pass per step, so the negative prompt is never run.",
    )  # fmt: skip


def _flux_dev() -> Example:
    graph = Graph()
    loaded = add_loaders(graph, {"files": _FLUX_FILES}, FLUX.id)
    prompt = _encode(graph, "positive", "Prompt", loaded.clip, "a blue ring on an orange background", t5_length=512)
    images = _sample(
        graph, loaded.vae, 1.0, model=loaded.model, positive=_guided(graph, prompt), negative=_zeroed(graph, prompt),
        noise=_noise(graph, FLUX.id, 42), sampler=_euler(graph), sigmas=_flux_sigmas(graph, 20), latent=_latent(graph),
    )  # fmt: skip
    _save(graph, images, "flux_dev")
    return Example(
        "flux_dev", FLUX.id, graph,
        "**Flux dev.** 512 T5 tokens, embedded guidance 3.5, and the schedule of Black Forest Labs' code, shifted by "
        "the size: keep width and height of schedule and latent the same.",
    )  # fmt: skip


def _flux_schnell() -> Example:
    graph = Graph()
    files = {**_FLUX_FILES, "unet": "flux1-schnell.safetensors"}
    loaded = add_loaders(graph, {"files": files}, FLUX.id)
    prompt = _encode(graph, "positive", "Prompt", loaded.clip, "a black triangle on a white background", t5_length=256)
    images = _sample(
        graph, loaded.vae, 1.0, model=loaded.model, positive=prompt, negative=_zeroed(graph, prompt),
        noise=_noise(graph, FLUX.id, 42), sampler=_euler(graph), sigmas=_flux_sigmas(graph, 4, shifted=False),
        latent=_latent(graph),
    )  # fmt: skip
    _save(graph, images, "flux_schnell")
    return Example(
        "flux_schnell", FLUX.id, graph,
        "**Flux schnell.** Four evenly falling steps (`shifted` off), 256 T5 tokens, no guidance.",
    )  # fmt: skip


def _lora_steps() -> Example:
    graph = Graph()
    loaded = add_loaders(graph, {"files": _FLUX_FILES}, FLUX.id)
    steps = graph.add("steps", "EriLoraSteps", "Which steps", run="my_run", steps="all", at_most=5)
    lora = graph.add(
        "lora", "EriLoraAtStep", "LoRA at training step", model=loaded.model, clip=loaded.clip, run="my_run",
        step=steps.out("step"), mode="exact", strength_model=1.0, strength_clip=1.0,
    )  # fmt: skip
    prompt = _encode(graph, "positive", "Prompt", lora.out("clip"), "a red zorp on a white background", t5_length=512)
    images = _sample(
        graph, loaded.vae, 1.0, model=lora.out("model"), positive=_guided(graph, prompt),
        negative=_zeroed(graph, prompt), noise=_noise(graph, FLUX.id, 42), sampler=_euler(graph),
        sigmas=_flux_sigmas(graph, 20), latent=_latent(graph),
    )  # fmt: skip
    sheet = graph.add(
        "sheet", "EriContactSheet", "Contact sheet", rows="", columns=steps.out("label"), title="LoRA step by step",
        cell=0, images=images,
    )  # fmt: skip
    _save(graph, sheet.out("image"), "lora_step_comparison")
    return Example(
        "lora_step_comparison", FLUX.id, graph,
        "**What each training step learned.** Choose your run in both LoRA nodes. The steps are a list: everything "
        "behind it runs once per step, with the same noise, and the sheet shows them side by side.",
    )  # fmt: skip


def _image_to_image() -> Example:
    graph = Graph()
    loaded = add_loaders(graph, {"files": _FLUX_FILES}, FLUX.id)
    picture = graph.add("image", "LoadImage", "Picture to start from", image="example.png")
    latent = graph.add("latent", "VAEEncode", "Encode", pixels=picture.out("image"), vae=loaded.vae)
    prompt = _encode(graph, "positive", "Prompt", loaded.clip, "a red star on a blue background", t5_length=512)
    images = _sample(
        graph, loaded.vae, 1.0, model=loaded.model, positive=_guided(graph, prompt), negative=_zeroed(graph, prompt),
        noise=_noise(graph, FLUX.id, 42), sampler=_euler(graph), sigmas=_flux_sigmas(graph, 20, denoise=0.9),
        latent=latent.out("latent"),
    )  # fmt: skip
    _save(graph, images, "image_to_image")
    return Example(
        "image_to_image", FLUX.id, graph,
        "**Image to image.** `denoise` of the schedule says how much of the picture is made anew: lower keeps more. "
        "Set the schedule's width and height to the picture's.",
    )  # fmt: skip


def _guidance() -> Example:
    graph = Graph()
    loaded = add_loaders(graph, {"files": _SD35_FILES}, SD35.id)
    values = (1.0, 2.5, 4.5, 8.0)
    text = "a yellow square on a black background"
    items = [SampleItem(i, text, 1024, 1024, 28, seed=42, cfg_scale=value) for i, value in enumerate(values)]
    spec = SampleSpec(SD35.id, "native", items, name="guidance_comparison")
    source = graph.add(
        "spec", "EriSampleSpec", "The same sample at four CFG values", config=config_text(spec), family="auto",
        trainer="auto", trigger_word="", items="",
    )  # fmt: skip
    positive = _encode(graph, "positive", "Prompt", loaded.clip, source.out("prompt"), t5_length=256)
    negative = _encode(graph, "negative", "Negative prompt", loaded.clip, source.out("negative"), t5_length=256)
    guided = graph.add(
        "patch", "EriGuidance", "Guidance", model=loaded.model, rescale=0.0, threshold_percentile=0.0,
        threshold_max=0.0, mode="cfg",
    )  # fmt: skip
    images = _sample(
        graph, loaded.vae, source.out("cfg"), model=guided.out("model"), positive=positive, negative=negative,
        noise=_noise(graph, SD35.id, source.out("seed")), sampler=_euler(graph),
        sigmas=_flow_sigmas(graph, source.out("steps")), latent=_latent(graph),
    )  # fmt: skip
    labels = "\n".join(f"CFG {value:g}" for value in values)
    sheet = graph.add(
        "sheet", "EriContactSheet", "Contact sheet", rows="", columns=labels, title="", cell=0, images=images
    )
    _save(graph, sheet.out("image"), "guidance_comparison")
    return Example(
        "guidance_comparison", SD35.id, graph,
        "**One sample at several CFG values.** The spec's lists run one after the other. Set `rescale` to 0.7 or "
        "`threshold_percentile` to 0.995 in the Guidance node to see how they tame high values.",
    )  # fmt: skip


def _packed() -> Example:
    graph = Graph()
    loaded_vae = graph.add("vae", "VAELoader", "Load VAE", vae_name="ae.safetensors").out("vae")
    latent = graph.add(
        "latents", "EriFluxUnpatchify", "Packed latents of a trainer", width=1024, height=1024,
        file="packed_latents.safetensors", model_space=True,
    )  # fmt: skip
    graph.stages[latent.id] = "image"
    decode = graph.add("decode", "VAEDecode", "Decode", samples=latent.out("latent"), vae=loaded_vae)
    _save(graph, decode.out("image"), "packed_latents")
    return Example(
        "packed_latents", FLUX.id, graph,
        "**Packed latents from a trainer.** Put a safetensors file with Flux' packed tokens [B, N, 64] into ComfyUI's "
        "input folder. `model_space` on: the numbers are as the model sees them, which is what trainers store.",
    )  # fmt: skip


def _training_run() -> Example:
    prompts = ("a red zorp on a white background", "a yellow zorp on a blue background")
    items = [SampleItem(i, text, 1024, 1024, 20, seed=42 + i, guidance=3.5) for i, text in enumerate(prompts)]
    spec = SampleSpec(FLUX.id, "ai-toolkit", items, name="my_run", layout="ai-toolkit", variant="dev")
    workflow = build(spec, {"files": _FLUX_FILES}, "my_run", None)
    return Example(
        "training_run", FLUX.id, workflow.graph,
        "**A training run's samples.** What `eri graph` and dropping a config on the canvas build: the spec spreads "
        "into lists, one entry per sample. Paste your config into *Samples of my_run* and choose your run.",
    )  # fmt: skip


_EXAMPLES: Final[tuple[Callable[[], Example], ...]] = (
    _training_run, _lora_steps, _flux_dev, _flux_schnell, _sd35_triple, _sd35_turbo, _sdxl_ddim, _image_to_image,
    _guidance, _packed,
)  # fmt: skip
