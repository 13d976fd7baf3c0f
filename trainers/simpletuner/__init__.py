"""SimpleTuner."""

from __future__ import annotations

from typing import Final

from ...configs.parse import Notations, Programs
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ...lora.schemes import Beside
from ..claims import Claim
from ..trainer import Trainer, no_placeholder, nobody_else
from .family import PROGRAMS, is_simpletuner
from .reader import MODEL_FILES, read_simpletuner
from .sampling import ID, WAYS

TRAINER: Final = Trainer(
    id=ID,
    title="SimpleTuner",
    repository="bghira/SimpleTuner",
    sources={
        "read": "helpers/training/validation.py::prepare_validation_prompt_list",
        "resolved": "MultiaspectImage._round_to_nearest_multiple",
        "noise": "helpers/training/validation.py",
        "sigmas": "the base model's scheduler, diffusers",
        "tokens": "helpers/configuration/cmd_args.py",
        "layout": "helpers/training/validation.py",
    },
    listed=5,
    families=("flux", "sd35", "sdxl", "chroma"),
    files="`config.json`, `.toml`, `.env` or command line, with `user_prompt_library`; what its web interface exports",
    family_told_by="`model_family`; before 2025: a switch, the program",
    seeds=("`seed`, else 0", "the same"),
    notations=Notations(env=True, toml=True, programs=Programs(PROGRAMS, repeats=True)),
    recognise=is_simpletuner,
    doubt=nobody_else,
    read=read_simpletuner,
    variables=False,
    tells_placeholder=no_placeholder,
    model_files=MODEL_FILES,
    ways=WAYS,
    layout=Layout("{run}/validation_images/step_{step}_{label}[_{spot}]", "png"),
    layout_claim=Claim("file layout", "as its source says"),
    # helpers/training/validation_images.py::save_images
    saved=(SavedName(rf"validation_images/step_(?P<step>[0-9]+)_(?P<label>.+){PICTURE}"),),
    checkpoints=(),
    checkpoints_beside=(Beside("diffusers", "training_state.json"),),
)
