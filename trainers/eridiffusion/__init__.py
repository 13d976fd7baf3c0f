"""EriDiffusion V1 (Rust, YAML)."""

from __future__ import annotations

from typing import Final

from ...configs.parse import Notations
from ...images.template import Layout
from ...lora.schemes import CHECKPOINT, NUMBER, Beside, Scheme
from ..claims import Claim
from ..trainer import Trainer
from .reader import read_eridiffusion
from .recognise import doubt, is_eridiffusion
from .sampling import ID, WAYS

TRAINER: Final = Trainer(
    id=ID,
    title="EriDiffusion V1",
    repository="CodeAlexx/EriDiffusion",
    sources={
        "read": "src/config/trainer_config.rs",
        "resolved": "src/trainers/mod.rs::detect_model_type",
        "noise": "src/inference/*_sampling.rs::prepare_latents",
        "sigmas": "src/inference/*_sampling.rs",
        "tokens": "not to be told from its code",
        "layout": "trainers/sampling/generator.rs",
    },
    listed=1,
    families=("flux", "sd35", "sdxl"),
    files="YAML: `config.process[]`, or `sample:` / `validation:` at the top level",
    family_told_by="`model` section",
    seeds=("42", "the same, `walk_seed` counts up"),
    notations=Notations(),
    recognise=is_eridiffusion,
    doubt=doubt,
    read=read_eridiffusion,
    variables=False,
    tells_placeholder=lambda _: True,
    ways=WAYS,
    layout=Layout("{run}/samples_step_{step:06}/step_{step:06}_sample_{index:02}", "png", prompt_file=True),
    layout_claim=Claim("file layout", "different", "V1 has several patterns; one of them is written"),
    checkpoints=(
        Scheme(rf"step_{NUMBER}/lora"),
        Scheme(rf"{CHECKPOINT}/(?:flux|sdxl)_lora"),
        Scheme(rf"checkpoint-{NUMBER}"),
        Scheme(rf"lora_step{NUMBER}"),
    ),
    checkpoints_beside=(Beside("peft", "metadata.json", "network_alpha"),),
)
