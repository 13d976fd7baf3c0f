"""ai-toolkit (ostris)."""

from __future__ import annotations

from typing import Final

from ...configs.parse import Notations
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ...lora.schemes import Scheme
from ..claims import Claim
from ..process import process_shape
from ..trainer import Trainer, nobody_else
from .reader import MODEL_FILES, read_ai_toolkit
from .sampling import ID, WAYS

TRAINER: Final = Trainer(
    id=ID,
    title="ai-toolkit",
    repository="ostris/ai-toolkit",
    sources={
        "read": "toolkit/config_modules.py::SampleConfig",
        "resolved": "config_modules.py::GenerateImageConfig",
        "noise": "jobs/process/BaseSDTrainProcess.py::sample",
        "sigmas": "toolkit/sampler.py::get_sampler",
        "tokens": "diffusers' pipelines",
        "layout": "BaseSDTrainProcess.py::sample",
    },
    listed=3,
    families=("flux", "sd35", "sdxl", "chroma"),
    files="YAML, JSON, JSONC",
    family_told_by="`model.arch`, `is_…`",
    seeds=("0, −1 = random", "the same, `walk_seed` counts up, an item's own stays"),
    notations=Notations(),
    recognise=lambda document: process_shape(document) == ID,
    doubt=nobody_else,
    read=read_ai_toolkit,
    variables=True,
    tells_placeholder=lambda placeholder: placeholder == "[trigger]",
    model_files=MODEL_FILES,
    ways=WAYS,
    layout=Layout("{run}/samples/{ms}__{step:09}_{index}", "jpg"),
    layout_claim=Claim("file layout", "as its source says"),
    # jobs/process/BaseSDTrainProcess.py::sample, toolkit/config_modules.py::get_image_path
    saved=(SavedName(rf"samples/(?P<time>[0-9]+)__(?P<step>[0-9]+)_(?P<index>[0-9]+){PICTURE}"),),
    checkpoints=(Scheme(r"(?P<run>[^/]+?)(?:_LoRA)?_(?P<number>[0-9]{9})", sure=False),),
    checkpoints_beside=(),
)
