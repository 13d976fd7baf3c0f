"""musubi-tuner: of the families here it trains FLUX.1 Kontext."""

from __future__ import annotations

from typing import Final

from ...images.template import Layout
from ..claims import Claim
from ..kohya.notations import NOTATIONS
from ..trainer import Trainer, no_placeholder, nobody_else
from .reader import read_musubi
from .recognise import is_musubi
from .sampling import ID, WAYS

TRAINER: Final = Trainer(
    id=ID,
    title="musubi-tuner",
    repository="kohya-ss/musubi-tuner",
    sources={
        "read": "training/sampling_prompts.py",
        "resolved": "training/trainer_base.py::sample_image_inference",
        "noise": "flux_kontext_train_network.py::do_inference",
        "sigmas": "flux_kontext_train_network.py::do_inference",
        "tokens": "flux_kontext_train_network.py",
        "layout": "training/trainer_base.py::sample_image_inference",
    },
    listed=7,
    families=("flux",),
    files="training TOML or command line with its prompt file; a prompt file alone (`--trainer musubi`)",
    family_told_by="FLUX.1 Kontext only",
    seeds=("random", "each its own"),
    notations=NOTATIONS,
    recognise=is_musubi,
    doubt=nobody_else,
    read=read_musubi,
    variables=False,
    tells_placeholder=no_placeholder,
    ways=WAYS,
    layout=Layout("{run}/sample/{run}_{step:06}_{index:02}_{time:%Y%m%d%H%M%S}[_{seed}]_000", "png"),
    layout_claim=Claim("file layout", "as its source says"),
    checkpoints=(),  # its names are sd-scripts'
    checkpoints_beside=(),
)
