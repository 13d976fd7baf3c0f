"""Trainer, family and sampler of which the trainer's own sampling code was run on the example models: what came of it.

`CELLS` is the one list of them. A tag names its tests in `test_trainer_runs.py`, its tensors in `data/runs.safetensors`
and a row of the table that `markdown` makes. README.md tells how the trainers were run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

DATA: Final = Path(__file__).parent / "data"

#: The sources that were run.
COMMITS: Final = {
    "ai-toolkit": "ostris/ai-toolkit 27a03a9",
    "kohya": "kohya-ss/sd-scripts 48d368f",
    "onetrainer": "Nerogar/OneTrainer 23df383",
    "simpletuner": "bghira/SimpleTuner bc8e6ab",
}

#: Up to here two pictures are the same one: a share of the latent's largest value, and of 255.
SAME_LATENT: Final = 1e-4
SAME_PIXEL: Final = 1

#: What makes a sample differ, by the word that `Cell.differs` uses.
CAUSES: Final = {
    "weights": "kohya multiplies embeddings by the weights in ( ) and [ ]; ComfyUI moves them away from the empty "
    "prompt's, and takes [ ] as text",
    "exclamation": "an exclamation mark is the padding token of diffusers' second CLIP tokenizer and an ordinary token "
    "in ComfyUI (run with such a tokenizer; the published one was not at hand)",
}

#: The topic of `eri explain` that must be "different" by each cause.
TOPICS: Final = {
    "weights": "token lengths",
    "exclamation": "token lengths",
}


@dataclass(frozen=True)
class Apart:
    """The largest differences of some samples: latent as a share of its largest value, pixels of 255."""

    latent: float
    pixel: int
    mean_pixel: float


@dataclass(frozen=True)
class Cell:
    """One config that a trainer's own code sampled.

    trainer, family: as in a SampleSpec.
    config: file below data/configs, in the trainer's own notation.
    noise: "drawn": the trainer drew its noise itself, on the CPU.
        "fed": it draws on CUDA, where `torch.randn` was given this pack's numbers in the shape and dtype that the
        trainer asked for. Only layout and dtype are checked then.
    sampler: the trainer's word for it, "" = its default.
    lora: folder below data/loras whose step 1000 is loaded, "" = the model before training.
    only: indices of the prompts that are compared, () = all.
    fed_steps: the trainer draws noise in its steps on CUDA. In its run that came from torch's CPU generator, which
        the initial noise had not moved; the test gives the graph the same numbers, so that nothing is said of them.
    differs: what makes samples differ, by index of the prompt; all others are the same picture.
    same: the largest differences among the samples that are the same picture, None = there is none.
    apart: the largest differences among those that differ, None = there is none.
    """

    trainer: str
    family: str
    config: str
    noise: Literal["drawn", "fed"]
    sampler: str = ""
    lora: str = ""
    only: tuple[int, ...] = ()
    fed_steps: bool = False
    differs: Mapping[int, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    same: Apart | None = None
    apart: Apart | None = None

    @property
    def verdict(self) -> Literal["same picture", "differs", "differs in some prompts"]:
        """What may be claimed of the cell."""
        if not self.differs:
            return "same picture"
        return "differs in some prompts" if self.same else "differs"

    @property
    def causes(self) -> tuple[str, ...]:
        """The keys of CAUSES that its samples have."""
        return tuple(dict.fromkeys(cause for causes in self.differs.values() for cause in causes))


_WEIGHTED: Final = (3, 5, 6, 8)  # the prompts of kohya/prompts_sdxl.txt with ( ) or [ ] that count

#: By tag; those of a family stand together, so that its models are loaded once. The differences were measured with
#: ComfyUI 0.3.75 on a CPU in float32.
CELLS: Final[dict[str, Cell]] = {
    "aitk_flux": Cell(
        "ai-toolkit", "flux", "ai-toolkit/flux.json", "drawn", "flowmatch", same=Apart(6.5e-6, 1, 0.0001)
    ),
    "aitk_flux_cfg": Cell(
        "ai-toolkit", "flux", "ai-toolkit/flux_cfg.json", "drawn", "flowmatch", same=Apart(3.6e-6, 1, 0.0001)
    ),
    "kohya_flux": Cell("kohya", "flux", "kohya/flux.toml", "fed", same=Apart(3.2e-6, 1, 0.0001)),
    "kohya_flux_lora": Cell(
        "kohya", "flux", "kohya/flux.toml", "fed", lora="kohya_flux", same=Apart(2.8e-6, 1, 0.0001)
    ),
    "ot_flux": Cell("onetrainer", "flux", "onetrainer/flux.json", "fed", same=Apart(9.4e-7, 1, 0.0001)),
    "st_flux": Cell("simpletuner", "flux", "simpletuner/flux.json", "drawn", same=Apart(6.5e-6, 1, 0.0001)),
    "st_flux_real": Cell(
        "simpletuner", "flux", "simpletuner/flux_real.json", "drawn", only=(2, 5),
        same=Apart(1.9e-6, 1, 0.0001),
    ),
    "aitk_sd35": Cell(
        "ai-toolkit", "sd35", "ai-toolkit/sd35.json", "drawn", "flowmatch", same=Apart(1.0e-6, 1, 0.0002)
    ),
    "aitk_sd35_lora": Cell(
        "ai-toolkit", "sd35", "ai-toolkit/sd35.json", "drawn", "flowmatch", "aitk_sd35", same=Apart(1.1e-6, 1, 0.0001)
    ),
    "aitk_sd35_bang": Cell(
        "ai-toolkit", "sd35", "ai-toolkit/sd35_bang.json", "drawn", "flowmatch",
        differs=dict.fromkeys((1, 2), ("exclamation",)), same=Apart(7.1e-7, 1, 0.0002), apart=Apart(0.145, 163, 11.95),
    ),
    "kohya_sd35": Cell("kohya", "sd35", "kohya/sd35.toml", "drawn", same=Apart(2.3e-6, 1, 0.0002)),
    "kohya_sd35_lora": Cell(
        "kohya", "sd35", "kohya/sd35.toml", "drawn", lora="kohya_sd35", same=Apart(1.5e-6, 1, 0.0001)
    ),
    "st_sd35": Cell("simpletuner", "sd35", "simpletuner/sd35.json", "drawn", same=Apart(1.6e-6, 1, 0.0002)),
    "aitk_sdxl_ddim": Cell(
        "ai-toolkit", "sdxl", "ai-toolkit/sdxl_ddim.json", "drawn", "ddim", same=Apart(1.9e-6, 0, 0.0)
    ),
    "aitk_sdxl_ddpm": Cell(
        "ai-toolkit", "sdxl", "ai-toolkit/sdxl_ddpm.json", "drawn", "ddpm", same=Apart(1.5e-6, 0, 0.0)
    ),
    "aitk_sdxl_euler": Cell(
        "ai-toolkit", "sdxl", "ai-toolkit/sdxl_euler.json", "drawn", "euler", same=Apart(1.4e-6, 1, 0.0001)
    ),
    "kohya_sdxl": Cell(
        "kohya", "sdxl", "kohya/sdxl.toml", "fed", "ddim",
        differs=dict.fromkeys(_WEIGHTED, ("weights",)), same=Apart(7.5e-6, 1, 0.0005), apart=Apart(1.040, 180, 62.90),
    ),
    "kohya_sdxl_euler": Cell(
        "kohya", "sdxl", "kohya/sdxl_euler.toml", "fed", "euler",
        differs=dict.fromkeys(_WEIGHTED, ("weights",)), same=Apart(1.3e-6, 1, 0.0001), apart=Apart(0.501, 223, 65.18),
    ),
    "ot_sdxl": Cell("onetrainer", "sdxl", "onetrainer/sdxl.json", "fed", "DDIM", same=Apart(1.3e-6, 1, 0.0001)),
    "ot_sdxl_euler": Cell(
        "onetrainer", "sdxl", "onetrainer/sdxl_euler.json", "fed", "EULER", same=Apart(1.7e-6, 1, 0.0001)
    ),
    "ot_sdxl_euler_a": Cell(
        "onetrainer", "sdxl", "onetrainer/sdxl_euler_a.json", "fed", "EULER_A", fed_steps=True,
        same=Apart(2.4e-6, 1, 0.0001),
    ),
}  # fmt: skip


def markdown() -> str:
    """A row per cell; where only some prompts differ, a row for the others and one for them. The causes below it."""
    lines = [
        "| cell | trainer | family, sampler | LoRA | noise | latent | pixels, largest and mean | what came of it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for tag, cell in CELLS.items():
        sampler = f"{cell.family}, `{cell.sampler}`" if cell.sampler else cell.family
        head = f"| `{tag}` | `{cell.trainer}` | {sampler} | {'yes' if cell.lora else 'no'} | {cell.noise} |"
        if cell.same:
            lines.append(f"{head} {cell.same.latent:.1e} | {_pixels(cell.same)} | same picture |")
        if cell.apart:
            prompts = f" (prompts {', '.join(map(str, sorted(cell.differs)))})" if cell.same else ""
            causes = ", ".join(f"*{cause}*" for cause in cell.causes)
            lines.append(f"{head} {cell.apart.latent:.2f} | {_pixels(cell.apart)} | differs{prompts}: {causes} |")
    return "\n".join([*lines, "", *(f"- *{cause}*: {text}." for cause, text in CAUSES.items())]) + "\n"


def _pixels(apart: Apart) -> str:
    return f"{apart.pixel} / {apart.mean_pixel:.{4 if apart.mean_pixel < 0.1 else 1}f}"
