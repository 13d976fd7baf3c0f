"""kohya sd-scripts, and the GUI's saved forms."""

from __future__ import annotations

from typing import Final

from ...configs.tree import Document, argument_names
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ...lora.schemes import NUMBER, Scheme
from ..claims import Claim
from ..trainer import Trainer, no_placeholder, nobody_else
from .gui import is_gui_form
from .prompts import NOTATIONS, is_prompt_file, looks_like_entries, starts_sd_scripts
from .reader import MODEL_FILES, read_kohya
from .sampling import ID, WAYS

#: sd-scripts' names when the user gave none: "at-step…", "epoch-…" and the final "last" are one run.
_DEFAULTS: Final = {"at": "last", "epoch": "last"}
_ARGUMENTS: Final = frozenset(("sample_prompts", "pretrained_model_name_or_path", "network_module"))


def is_kohya(document: Document) -> bool:
    """True for sd-scripts' training arguments, its GUI's forms, and prompt files, whose trainer nothing tells."""
    if is_prompt_file(document):
        return document.kind != "json" or looks_like_entries(document.root)
    if document.kind == "command":
        return starts_sd_scripts(document)
    if is_gui_form(document):
        return True
    return not argument_names(document).isdisjoint(_ARGUMENTS)


TRAINER: Final = Trainer(
    id=ID,
    title="kohya sd-scripts",
    repository="kohya-ss/sd-scripts",
    sources={
        "read": "library/train_util.py::load_prompts",
        "resolved": "train_util.py::line_to_prompt_dict",
        "noise": "flux_train_utils.py, sd3_train_utils.py, train_util.py",
        "sigmas": "flux_train_utils.py, sd3_train_utils.py, train_util.py",
        "tokens": "t5xxl_max_token_length",
        "layout": "train_util.py::sample_image_inference",
    },
    listed=4,
    families=("flux", "sd35", "sdxl", "chroma"),
    files="training TOML or command line with its prompt file; a `.txt`, `.toml`, `.json` prompt file alone; the JSON "
    "that kohya's GUI saves and the TOML that lora-scripts exports, which hold their prompts",
    family_told_by="script, network module, model files; GUI: its model switches; alone: `--family`",
    seeds=("random", "each its own"),
    notations=NOTATIONS,
    recognise=is_kohya,
    doubt=nobody_else,
    read=read_kohya,
    variables=False,
    tells_placeholder=no_placeholder,
    model_files=MODEL_FILES,
    ways=WAYS,
    layout=Layout("{run}/sample/{run}_{step:06}_{index:02}_{time:%Y%m%d%H%M%S}[_{seed}]", "png"),
    layout_claim=Claim("file layout", "as its source says"),
    saved=(
        SavedName(  # library/train_util.py, flux_train_utils.py, sd3_train_utils.py::sample_image_inference
            r"sample/(?:(?P<run>.+)_)?(?:e(?P<epoch>[0-9]{6,})|(?P<step>[0-9]{6,}))_(?P<index>[0-9]{2,})"
            rf"_(?P<time>[0-9]{{14}})(?:_(?P<seed>[0-9]+))?{PICTURE}"
        ),
    ),
    checkpoints=(
        Scheme(rf"(?P<run>[^/]+)-step{NUMBER}", run_names=_DEFAULTS),
        Scheme(r"(?P<run>[^/]+)-(?P<number>[0-9]{6})", counts_epochs=True, run_names=_DEFAULTS),
    ),
    checkpoints_beside=(),
)
