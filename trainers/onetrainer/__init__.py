"""OneTrainer."""

from __future__ import annotations

from typing import Final

from ...configs.parse import Notations
from ...configs.tree import Document, entries_with, has_any
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ...lora.schemes import EPOCH, NUMBER, Scheme
from ..claims import Claim
from ..trainer import Trainer, no_placeholder, nobody_else
from .reader import MODEL_FILES, read_onetrainer
from .sampling import ID, WAYS


def is_onetrainer(document: Document) -> bool:
    """True for OneTrainer's configs and its samples files."""
    if document.kind != "json":
        return False
    return has_any(document, "training_method", "sample_definition_file_name") or entries_with(
        document, "", {"diffusion_steps", "cfg_scale", "noise_scheduler", "random_seed"}
    )


TRAINER: Final = Trainer(
    id=ID,
    title="OneTrainer",
    repository="Nerogar/OneTrainer",
    sources={
        "read": "modules/util/config/SampleConfig.py",
        "resolved": "modules/util/config/BaseConfig.py::from_dict",
        "noise": "modules/modelSampler/*Sampler.py",
        "sigmas": "modules/modelSampler/*Sampler.py",
        "tokens": "modules/util/config/TrainConfig.py",
        "layout": "modules/trainer/GenericTrainer.py",
    },
    listed=6,
    families=("flux", "sd35", "sdxl", "chroma"),
    files="config JSON with `samples` or with its samples file; that file alone",
    family_told_by="`model_type`; alone: `--family`",
    seeds=("42", "each its own"),
    notations=Notations(),
    recognise=is_onetrainer,
    doubt=nobody_else,
    read=read_onetrainer,
    variables=False,
    tells_placeholder=no_placeholder,
    model_files=MODEL_FILES,
    ways=WAYS,
    # The trainer writes "<step>-<epoch>-<step of the epoch>".
    layout=Layout("{run}/samples/{index} - {words:32}/{time:%Y-%m-%d_%H-%M-%S}-training-sample-{step}-0-{step}", "jpg"),
    layout_claim=Claim(
        "file layout", "different", "The epoch in the name counts as 0: a checkpoint tells its step alone"
    ),
    saved=(
        SavedName(  # modules/trainer/GenericTrainer.py::__sample_loop, modules/util/TrainProgress.py; those of the EMA
            r"samples/(?P<index>[0-9]+) -(?: (?P<words>(?:(?! - no-ema)[^/])*))?/.*?"  # Windows drops a last space
            r"(?P<time>[0-9]{4}(?:[-_][0-9]{2}){5})"
            rf"-training-sample-(?P<step>[0-9]+)-[0-9]+-[0-9]+{PICTURE}"
        ),
    ),
    checkpoints=(
        Scheme(rf"(?:[^/]+-)?backup-{NUMBER}-{EPOCH}-[0-9]+/lora/lora"),
        Scheme(rf"(?P<run>[^/]*?)[0-9-]+_[0-9-]+-save-{NUMBER}-{EPOCH}-[0-9]+"),
        Scheme(rf"(?P<run>[^/]+)-save-{NUMBER}-{EPOCH}-[0-9]+"),
    ),
    checkpoints_beside=(),
)
