"""`eri sample`: pictures of one training step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .sampling import print_images, sample_steps
from .shared import read_config, reported


def sample(
    file: options.ConfigFile,
    step: Annotated[int | None, typer.Option(min=0, help="Training step; 0 = no LoRA.", show_default="newest")] = None,
    run: options.Run = None,
    models: options.ModelsFile = None,
    host: options.HostUrl = None,
    output: options.Output = Path("eri_samples"),
    batch: options.Batch = 1,
    timeout: options.Timeout = None,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: options.Expand = None,
    wildcards: options.Wildcards = None,
    as_json: options.AsJson = False,
) -> None:
    """Sample one training step on a ComfyUI host.

    Example: eri sample train_flux.yaml --run output/my_run --step 500 --models flux.yaml
    """
    with reported(as_json):
        found = read_config(file, trainer, family, prompts, expand, wildcards)
        if run is None and step != 0:
            run = found.name
        document = sample_steps(
            found, [step], run, models, host, output, batch=batch, timeout=timeout, quiet=as_json
        )
    print_images(document, as_json)
