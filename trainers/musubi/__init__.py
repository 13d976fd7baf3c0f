"""musubi-tuner: of the families here it trains FLUX.1 Kontext."""

from __future__ import annotations

from typing import Final

from ...configs.command_line import PROGRAM
from ...configs.tree import Document, argument_names, find, matches
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ..claims import Claim
from ..kohya.prompts import NOTATIONS
from ..trainer import Trainer, no_placeholder, nobody_else
from .reader import MODEL_FILES, read_musubi
from .sampling import ID, WAYS


def is_musubi(document: Document) -> bool:
    """True for musubi-tuner's training arguments: they name a `dit` where sd-scripts' name a checkpoint."""
    if document.kind == "command":
        return matches(find(document.root, PROGRAM), "flux_kontext_train.*")
    names = argument_names(document)
    return "dit" in names and "pretrained_model_name_or_path" not in names


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
    model_files=MODEL_FILES,
    ways=WAYS,
    layout=Layout("{run}/sample/{run}_{step:06}_{index:02}_{time:%Y%m%d%H%M%S}[_{seed}]_000", "png"),
    layout_claim=Claim("file layout", "as its source says"),
    saved=(
        SavedName(  # training/trainer_base.py::sample_image_inference, hv_generate_video.py::save_images_grid
            r"sample/(?:(?P<run>.+)_)?(?:e(?P<epoch>[0-9]{6,})|(?P<step>[0-9]{6,}))_(?P<index>[0-9]{2,})"
            rf"_(?P<time>[0-9]{{14}})(?:_(?P<seed>[0-9]+))?_000{PICTURE}"
        ),
    ),
    checkpoints=(),  # its names are sd-scripts'
    checkpoints_beside=(),
)
