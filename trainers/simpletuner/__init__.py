"""SimpleTuner."""

from __future__ import annotations

from typing import Final

from ...configs.parse import Notations
from ...configs.tree import Document, find, has_any
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ...lora.schemes import Beside
from ..claims import Claim
from ..trainer import Trainer, no_placeholder, nobody_else
from .reader import MODEL_FILES, read_simpletuner
from .sampling import ID, WAYS


def is_simpletuner(document: Document) -> bool:
    """True for SimpleTuner's options in any notation, and for what its web interface exports."""
    if has_any(document, "model_family", "--model_family", "MODEL_FAMILY", "VALIDATION_PROMPT"):
        return True
    return has_any(document, "_metadata") and any(
        find(document.root, f"config.{key}") is not None for key in ("model_family", "--model_family")
    )


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
    files="`config.json`, `.toml`, `.env`, with `user_prompt_library`; what its web interface exports",
    family_told_by="`model_family`",
    seeds=("`seed`, else 0", "the same"),
    notations=Notations(env=True, toml=True),
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
