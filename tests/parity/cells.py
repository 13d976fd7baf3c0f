"""Trainer, family and sampler of which the trainer's own sampling code was run on the example models.

`CELLS` is the one list of them. A tag names its tests in `test_trainer_runs.py`, its tensors in `data/runs.safetensors`
and its differences in `measured.json`. README.md tells how the trainers were run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

DATA: Final = Path(__file__).parent / "data"
#: How far the cells were apart, by the version of ComfyUI; docs/parity.md shows it.
MEASURED: Final = Path(__file__).parent / "measured.json"

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
    """

    trainer: str
    family: str
    config: str
    noise: Literal["drawn", "fed"]
    sampler: str = ""
    lora: str = ""
    only: tuple[int, ...] = ()
    fed_steps: bool = False


#: By tag; those of a family stand together, so that its models are loaded once.
CELLS: Final[dict[str, Cell]] = {
    "aitk_flux": Cell("ai-toolkit", "flux", "ai-toolkit/flux.json", "drawn", "flowmatch"),
    "aitk_flux_cfg": Cell("ai-toolkit", "flux", "ai-toolkit/flux_cfg.json", "drawn", "flowmatch"),
    "kohya_flux": Cell("kohya", "flux", "kohya/flux.toml", "fed"),
    "kohya_flux_lora": Cell("kohya", "flux", "kohya/flux.toml", "fed", lora="kohya_flux"),
    "ot_flux": Cell("onetrainer", "flux", "onetrainer/flux.json", "fed"),
    "st_flux": Cell("simpletuner", "flux", "simpletuner/flux.json", "drawn"),
    "st_flux_real": Cell("simpletuner", "flux", "simpletuner/flux_real.json", "drawn", only=(2, 5)),
    "aitk_sd35": Cell("ai-toolkit", "sd35", "ai-toolkit/sd35.json", "drawn", "flowmatch"),
    "aitk_sd35_lora": Cell("ai-toolkit", "sd35", "ai-toolkit/sd35.json", "drawn", "flowmatch", "aitk_sd35"),
    "aitk_sd35_bang": Cell("ai-toolkit", "sd35", "ai-toolkit/sd35_bang.json", "drawn", "flowmatch"),
    "kohya_sd35": Cell("kohya", "sd35", "kohya/sd35.toml", "drawn"),
    "kohya_sd35_lora": Cell("kohya", "sd35", "kohya/sd35.toml", "drawn", lora="kohya_sd35"),
    "st_sd35": Cell("simpletuner", "sd35", "simpletuner/sd35.json", "drawn"),
    "aitk_sdxl_ddim": Cell("ai-toolkit", "sdxl", "ai-toolkit/sdxl_ddim.json", "drawn", "ddim"),
    "aitk_sdxl_ddpm": Cell("ai-toolkit", "sdxl", "ai-toolkit/sdxl_ddpm.json", "drawn", "ddpm"),
    "aitk_sdxl_euler": Cell("ai-toolkit", "sdxl", "ai-toolkit/sdxl_euler.json", "drawn", "euler"),
    "kohya_sdxl": Cell("kohya", "sdxl", "kohya/sdxl.toml", "fed", "ddim"),
    "kohya_sdxl_euler": Cell("kohya", "sdxl", "kohya/sdxl_euler.toml", "fed", "euler"),
    "ot_sdxl": Cell("onetrainer", "sdxl", "onetrainer/sdxl.json", "fed", "DDIM"),
    "ot_sdxl_euler": Cell("onetrainer", "sdxl", "onetrainer/sdxl_euler.json", "fed", "EULER"),
    "ot_sdxl_euler_a": Cell("onetrainer", "sdxl", "onetrainer/sdxl_euler_a.json", "fed", "EULER_A", fed_steps=True),
}
