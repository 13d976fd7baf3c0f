"""EriDiffusion V1 (Rust, YAML)."""

from __future__ import annotations

from typing import Final

from ...configs.parse import Notations
from ...configs.tree import Document
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ...lora.schemes import CHECKPOINT, NUMBER, Beside, Scheme
from ..claims import documented
from ..process import is_ambiguous, process_shape
from ..trainer import Trainer
from .fields import MODEL_FILES
from .flat import MODEL_FILES as FLAT_MODEL_FILES
from .reader import read_eridiffusion
from .sampling import ID, WAYS


def is_eridiffusion(document: Document) -> bool:
    """True for `config.process[]` that nothing makes ai-toolkit's, and for V1's flat sections."""
    return process_shape(document) == "eridiffusion" or is_flat(document)


def doubt(document: Document) -> str | None:
    """Say so where nothing in a config tells EriDiffusion from ai-toolkit."""
    if not is_ambiguous(document):
        return None
    return "ai-toolkit would read this config too; it is taken as EriDiffusion's. Name the trainer if that is wrong."


def is_flat(document: Document) -> bool:
    """True for EriDiffusion V1's flat sections: `validation:` or `sample:` beside a model, or a template."""
    root = document.root.value
    if not isinstance(root, dict) or document.kind in ("env", "toml", "command"):
        return False
    sections = [root[key] for key in ("validation", "sample") if key in root]
    return "model_kind" in root or any(isinstance(section.value, dict) for section in sections)


TRAINER: Final = Trainer(
    id=ID,
    title="EriDiffusion V1",
    repository="CodeAlexx/EriDiffusion",
    sources={
        "read": "src/config/trainer_config.rs",
        "resolved": "src/trainers/mod.rs::detect_model_type",
        "noise": "src/inference/*_sampling.rs::prepare_latents",
        "sigmas": "its documents ([eridiffusion.md](eridiffusion.md))",
        "tokens": "its documents",
        "layout": "its documents; src/trainers/sampling_utils.rs",
    },
    listed=1,
    families=("flux", "sd35", "sdxl"),
    files="YAML: `config.process[]`, or `sample:` / `validation:` at the top level",
    family_told_by="`model` section",
    seeds=("42", "the same, `walk_seed` counts up"),
    notations=Notations(repeated_keys=False),  # serde_yaml stops at them
    recognise=is_eridiffusion,
    doubt=doubt,
    read=read_eridiffusion,
    variables=False,
    tells_placeholder=lambda _: True,
    model_files={**MODEL_FILES, **FLAT_MODEL_FILES},
    ways=WAYS,
    layout=Layout(
        "{run}/samples_step_{step:06}/step_{step:06}_sample_{index:02}",
        "png",
        families={"sdxl": Layout("{run}/samples/step_{step:06}/sample_{index:02}", "png", prompt_file=True)},
    ),
    layout_claim=documented(
        "file layout",
        "Flux and SD 3.5: samples_step_XXXXXX/step_XXXXXX_sample_XX.png; SDXL: samples/step_XXXXXX/ and text files of "
        "the prompts, with the names of sampling_utils.rs",
        "images/test_layouts.py::test_v1s_documents_name_flux_and_sd35_samples",
        "images/test_layouts.py::test_v1s_documents_name_sdxl_samples",
    ),
    # flux_sampling.rs, sd35_sampling.rs; sdxl_sampling_complete.rs
    saved=(
        SavedName(rf"samples_step_(?P<step>[0-9]+)/step_[0-9]+_sample_(?P<index>[0-9]+){PICTURE}"),
        SavedName(rf"samples/step_(?P<step>[0-9]+)/sample_(?P<index>[0-9]+){PICTURE}"),
    ),
    checkpoints=(
        Scheme(rf"step_{NUMBER}/lora"),
        Scheme(rf"{CHECKPOINT}/(?:flux|sdxl)_lora"),
        Scheme(rf"checkpoint-{NUMBER}"),
        Scheme(rf"lora_step{NUMBER}"),
    ),
    checkpoints_beside=(Beside("peft", "metadata.json", "network_alpha"),),
)
