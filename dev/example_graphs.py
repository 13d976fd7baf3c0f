"""The example workflows of the pack: what a person wires by hand, one graph per job.

`python dev/tasks.py example-workflows` writes them to `example_workflows/`, where ComfyUI finds them for Templates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ..families import FLUX, SD35, SDXL
from ..families.family import Family
from ..spec import SampleItem, SampleSpec
from ..workflows.builder import build, config_text
from ..workflows.canvas.ui import write
from ..workflows.graph import Graph, Link, Literal
from ..workflows.models import add_loaders

#: Stands in the prompts of graphs with a LoRA for the word that the person's own LoRA was trained on.
TRIGGER: Final = "ohwx"


@dataclass(frozen=True)
class Example:
    """One example of a graph.

    Attributes:
        name: file name without suffix. ComfyUI's Templates show nothing else of it in words.
        family: id of the family.
        graph: the graph.
        note: the text on its canvas.
    """

    name: str
    family: str
    graph: Graph
    note: str
    box: str = ""

    def ui(self) -> dict[str, Any]:
        """The canvas's JSON. box: title of the node that holds what a trainer does."""
        return write(self.graph, note=self.note, box=self.box)


def examples() -> list[Example]:
    """All examples, in the order of the README."""
    return [
        _training_run(), _lora_steps(), _lora_strengths(), _flux_dev(), _flux_schnell(), _sd35_triple(),
        _sd35_turbo(), _sdxl_ddim(), _image_to_image(), _guidance(), _packed(),
    ]  # fmt: skip


class _Draft(Graph):
    """The graph of an example in the making: it begins with the loaders of a family's usual files.

    Args:
        files: names to load instead of the usual ones, by part.
    """

    def __init__(self, family: Family, **files: str) -> None:
        super().__init__()
        self.family = family
        self.loaded = add_loaders(self, {"files": _usual_files(family) | files}, family.id)
        self.loaders = tuple(self.nodes)

    def encode(self, text: str | Link, *, clip: Link | None = None, negative: bool = False, **changes: Literal) -> Link:
        """Add the encoding of a prompt."""
        node_id, title = ("negative", "Negative prompt") if negative else ("positive", "Prompt")
        settings: dict[str, Literal | Link] = {
            "prompt": text, "prompt_2": "", "prompt_3": "", "t5_length": 0, "weighting": False, "empty": "encode",
            "width": 1024, "height": 1024,
        }  # fmt: skip
        settings |= changes
        node = self.add(node_id, "EriTripleTextEncode", title, clip=clip or self.loaded.clip, **settings)
        return node.out("conditioning")

    def guided(self, conditioning: Link) -> Link:
        """Add Flux dev's embedded guidance."""
        node = self.add("guidance", "FluxGuidance", "Embedded guidance", conditioning=conditioning, guidance=3.5)
        return node.out("conditioning")

    def sample(
        self, positive: Link, negative: Link | None, steps: int | Link = 0, cfg: float | Link = 1.0, *,
        seed: int | Link = 42, model: Link | None = None, sampler: Link | None = None, sigmas: Link | None = None,
        latent: Link | None = None, **schedule: Literal,
    ) -> Link:  # fmt: skip
        """Add noise, sampler, schedule, latent (each unless it is given), EriSample and VAEDecode; returns the images.

        schedule: what differs from the defaults of the family's schedule node.
        """
        profile = "torch-cpu/nchw/float32"
        noise = self.add("noise", "EriTrainerNoise", "Noise", seed=seed, profile=profile, family=self.family.id)
        sampled = self.add(
            "sample", "EriSample", "Sample", cfg=cfg, model=model or self.loaded.model, positive=positive,
            noise=noise.out("noise"), sampler=sampler or self._euler(),
            sigmas=sigmas or self._sigmas(steps, schedule), latent=latent or self._empty_latent(),
            **({} if negative is None else {"negative": negative}),
        )  # fmt: skip
        decoded = self.add("decode", "VAEDecode", "Decode", samples=sampled.out("latent"), vae=self.loaded.vae)
        return decoded.out("image")

    def _euler(self) -> Link:
        node = self.add("sampler", "EriFlowEulerSampler", "Euler", s_churn=0.0, s_tmin=0.0, s_tmax=1.0, s_noise=1.0)
        return node.out("sampler")

    def _sigmas(self, steps: int | Link, changes: dict[str, Literal]) -> Link:
        settings: dict[str, Literal]
        if self.family is FLUX:
            kind, title = "EriFluxSchedule", "Flux schedule"
            settings = {"width": 1024, "height": 1024, "base_shift": 0.5, "max_shift": 1.15, "shifted": True}
            settings |= {"denoise": 1.0}
        else:
            kind, title = "EriFlowSchedule", "Flow schedule"
            settings = {"shift": 3.0, "spacing": "timesteps"}
        return self.add("sigmas", kind, title, steps=steps, **(settings | changes)).out("sigmas")

    def _empty_latent(self) -> Link:
        kind = self.family.empty_latent
        return self.add("latent", kind, "Empty latent", width=1024, height=1024, batch_size=1).out("latent")

    def sheet(self, images: Link, columns: str | Link, title: str, rows: str | Link = "") -> Link:
        """Add a contact sheet."""
        node = self.add(
            "sheet", "EriContactSheet", "Contact sheet", rows=rows, columns=columns, title=title, cell=0, images=images
        )
        return node.out("image")

    def done(self, name: str, images: Link, note: str, box: str = "") -> Example:
        """Save the images; the example. box: title of the node that holds what makes a picture; "" = none does."""
        if box:
            outside = {*self.loaders, "steps", "lora", "decode", "sheet"}
            self.bands |= dict.fromkeys((node for node in self.nodes if node not in outside), 0)
        return replace(_saved(self, name, self.family, images, note), box=box)


def _saved(graph: Graph, name: str, family: Family, images: Link, note: str) -> Example:
    graph.add("save", "SaveImage", "Save image", images=images, filename_prefix=f"eridiffusion/{name}")
    return Example(name, family.id, graph, note)


def _usual_files(family: Family) -> dict[str, str]:
    return {part: file.name for part, file in family.files.items()}


def _sdxl_ddim() -> Example:
    draft = _Draft(SDXL)
    positive, negative = draft.encode("a red circle on a blue background"), draft.encode("", negative=True)
    sigmas = draft.add(
        "sigmas", "EriDDIMSchedule", "DDIM schedule", model=draft.loaded.model, steps=30, spacing="leading", offset=1,
        zero_terminal_snr=False, final_alpha="alpha[0]",
    )  # fmt: skip
    sampler = draft.add(
        "sampler", "EriDDIMSampler", "DDIM", eta=0.0, clip_sample=False, clip_range=1.0,
        use_clipped_model_output=False, spacing="leading", offset=1,
    )  # fmt: skip
    images = draft.sample(positive, negative, cfg=5.0, sampler=sampler.out("sampler"), sigmas=sigmas.out("sigmas"))
    return draft.done(
        "SDXL with DDIM", images,
        "**SDXL with real DDIM.** Schedule and sampler give the result of diffusers' DDIMScheduler; ComfyUI's own "
        "`ddim` is Euler.",
    )  # fmt: skip


def _sd35_triple() -> Example:
    draft = _Draft(SD35)
    text = "a green star on a yellow background"
    third = "a large green star on a yellow background"
    positive = draft.encode(text, prompt_2=text, prompt_3=third, t5_length=256)
    negative = draft.encode("", negative=True, t5_length=256)
    return draft.done(
        "SD 3.5 with three text encoders", draft.sample(positive, negative, steps=28, cfg=4.5),
        "**SD 3.5, three text encoders, CFG.** `prompt` goes to CLIP-L, `prompt_2` to CLIP-G, `prompt_3` to T5 with "
        "exactly 256 tokens. An empty one takes the first prompt.",
    )  # fmt: skip


def _sd35_turbo() -> Example:
    draft = _Draft(SD35, checkpoint="sd3.5_large_turbo.safetensors")
    positive = draft.encode("a white cross on a purple background", t5_length=256)
    return draft.done(
        "SD 3.5 Large Turbo", draft.sample(positive, None, steps=4),
        "**SD 3.5 Large Turbo.** Four steps, CFG 1: one pass per step, so the negative prompt is never run.",
    )  # fmt: skip


def _flux_dev() -> Example:
    draft = _Draft(FLUX)
    prompt = draft.encode("a purple square on a yellow background", t5_length=512)
    return draft.done(
        "Flux dev", draft.sample(draft.guided(prompt), None, steps=20),
        "**Flux dev.** 512 T5 tokens, embedded guidance 3.5, and the schedule of Black Forest Labs' code, shifted by "
        "the size: keep width and height of schedule and latent the same.",
    )  # fmt: skip


def _flux_schnell() -> Example:
    draft = _Draft(FLUX, unet="flux1-schnell.safetensors")
    prompt = draft.encode("a black triangle on a white background", t5_length=256)
    return draft.done(
        "Flux schnell", draft.sample(prompt, None, steps=4, shifted=False),
        "**Flux schnell.** Four evenly falling steps (`shifted` off), 256 T5 tokens, no guidance.",
    )  # fmt: skip


def _sweep(strengths: str, at_most: int, title: str, name: str, note: str) -> Example:
    """One prompt at the steps of a run, and at several strengths where there are several."""
    draft = _Draft(FLUX)
    several = "," in strengths
    steps = draft.add(
        "steps", "EriLoraSteps", "Which steps, how strong" if several else "Which steps", run="my_run", steps="all",
        at_most=at_most, strengths=strengths,
    )  # fmt: skip
    strength = steps.out("strength") if several else 1.0
    lora = draft.add(
        "lora", "EriLoraAtStep", "LoRA at training step", model=draft.loaded.model, clip=draft.loaded.clip,
        run="my_run", step=steps.out("step"), mode="exact", strength_model=strength, strength_clip=strength,
        apply="beside the weights",
    )  # fmt: skip
    prompt = draft.encode(f"a red {TRIGGER} on a white background", clip=lora.out("clip"), t5_length=512)
    images = draft.sample(draft.guided(prompt), None, steps=20, model=lora.out("model"))
    rows = steps.out("strength_label") if several else ""
    return draft.done(name, draft.sheet(images, steps.out("label"), title, rows), note, "One picture with Flux dev")


def _lora_steps() -> Example:
    return _sweep(
        "1.0", 6, "LoRA step by step", "LoRA training steps side by side",
        "**What each training step learned.** Choose your run in both LoRA nodes, and write its trigger word in place "
        f"of `{TRIGGER}`. The steps are a list: everything behind it runs once per step, with the same noise, and the "
        "sheet shows them side by side.",
    )  # fmt: skip


def _lora_strengths() -> Example:
    return _sweep(
        "0.6, 1", 4, "LoRA steps by strengths", "LoRA training steps by strengths",
        "**Which step, how strong.** Choose your run in both LoRA nodes, and write its trigger word in place of "
        f"`{TRIGGER}`. *LoRA Steps* lists every step with every strength: everything behind it runs once for each, "
        "with the same noise, and the sheet has a row per strength. For several prompts, seeds or guidance values take "
        "`eri sweep`.",
    )  # fmt: skip


def _image_to_image() -> Example:
    draft = _Draft(FLUX)
    picture = draft.add("image", "LoadImage", "Picture to start from", image="example.png")
    latent = draft.add("latent", "VAEEncode", "Encode", pixels=picture.out("image"), vae=draft.loaded.vae)
    prompt = draft.encode("a red triangle on a blue background", t5_length=512)
    images = draft.sample(
        draft.guided(prompt), None, steps=20, latent=latent.out("latent"), denoise=0.9
    )
    return draft.done(
        "Image to image", images,
        "**Image to image.** `denoise` of the schedule says how much of the picture is made anew: lower keeps more. "
        "Set the schedule's width and height to the picture's.",
    )  # fmt: skip


def _guidance() -> Example:
    draft = _Draft(SD35)
    values = (1.0, 2.5, 4.5, 8.0)
    text = "a yellow square on a black background"
    items = [SampleItem(i, text, 1024, 1024, 28, seed=42, cfg_scale=value) for i, value in enumerate(values)]
    spec = SampleSpec(SD35.id, "native", items, name="guidance_values")
    source = draft.add(
        "spec", "EriSampleSpec", "The same sample at four CFG values", config=config_text(spec), family="auto",
        trainer="auto", trigger_word="", items="",
    )  # fmt: skip
    positive = draft.encode(source.out("prompt"), t5_length=256)
    negative = draft.encode(source.out("negative"), negative=True, t5_length=256)
    guided = draft.add(
        "patch", "EriGuidance", "Guidance", model=draft.loaded.model, rescale=0.0, threshold_percentile=0.0,
        threshold_max=0.0, mode="cfg",
    )  # fmt: skip
    images = draft.sample(
        positive, negative, source.out("steps"), source.out("cfg"), seed=source.out("seed"), model=guided.out("model")
    )
    return draft.done(
        "Guidance values side by side", draft.sheet(images, "\n".join(f"CFG {value:g}" for value in values), ""),
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
    return _saved(
        graph, "Packed latents of a Flux trainer", FLUX, decode.out("image"),
        "**Packed latents from a trainer.** Put a safetensors file with Flux' packed tokens [B, N, 64] into ComfyUI's "
        "input folder. `model_space` on: the numbers are as the model sees them, which is what trainers store.",
    )  # fmt: skip


def _training_run() -> Example:
    scenes = ("red {} on a white", "blue {} on a yellow", "white {} on a black", "green {} on an orange")
    prompts = [f"a {scene.format(TRIGGER)} background" for scene in scenes]
    items = [SampleItem(i, text, 1024, 1024, 20, seed=42 + i, guidance=3.5) for i, text in enumerate(prompts)]
    spec = SampleSpec(FLUX.id, "ai-toolkit", items, name="my_run", layout="ai-toolkit", variant="dev")
    workflow = build(spec, {"files": _usual_files(FLUX)}, "my_run", None)
    return Example(
        "Samples of a training run", FLUX.id, workflow.graph,
        "**A training run's samples.** What `eri graph` and dropping a config on the canvas build: the spec spreads "
        "into lists, one entry per sample. Paste your config into *Sample as ai-toolkit does* and choose your run.",
        "Sample as ai-toolkit does",
    )  # fmt: skip
