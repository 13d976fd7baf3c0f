"""EriDiffusion V2 (Rust, JSON and flags)."""

from __future__ import annotations

from typing import Final

from ...configs.command_line import PROGRAM
from ...configs.tree import Document, entries_with, find, has_any, matches
from ...families import FAMILIES
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ...lora.schemes import NUMBER, TWIN, Scheme
from ..claims import Claim
from ..trainer import Trainer, no_placeholder, nobody_else
from .eritrainer import is_eritrainer
from .programs import NOTATIONS, PROGRAMS
from .reader import IN_RUN, MODEL_FILES, read_eridiffusion_v2
from .sampling import ID, WAYS

_ONETRAINER_ONLY: Final = ("samples", "sample_definition_file_name", "sample_after_unit", "concepts", "tensorboard")
#: Fields of V2's and the Mojo trainers' configs, by which a model's plain name is theirs.
_RUNNER: Final = (
    *("lora_rank", "lora_alpha", "timestep_shift", "timestep_distribution", "training_method", "sample_every"),
)
_V2_ONLY: Final = (
    *("validation_prompts_file", "validation_every_steps", "validation_dataset_dir", "multi_backend_weights"),
    *("tread_keep_ratio", "tread_route_pattern", "ema_validation_swap", "gamma_input_perturbation", "lr_min_factor"),
)


def is_eridiffusion_v2(document: Document) -> bool:
    """True for V2's command lines, its JSON configs (OneTrainer's, with fields of its own) and prompt libraries."""
    if document.kind == "command":
        return matches(find(document.root, PROGRAM), PROGRAMS.pattern)
    if document.kind != "json":
        return False
    if entries_with(document, "prompts", {"negative", "seeds", "size"}) or is_eritrainer(document):
        return True
    kind = find(document.root, "model_type")
    if matches(find(document.root, "schema"), r"serenity\.sample_prompts\.v1"):
        return True
    if has_any(document, *_ONETRAINER_ONLY):
        return False
    if has_any(document, *_V2_ONLY) or matches(kind, r"FluxDev1|StableDiffusion\w*"):
        return True
    if matches(kind, "|".join(FAMILIES)):
        return has_any(document, *_RUNNER)
    # a runner config, whose launch line names the model; OneTrainer's own always name it
    return kind is None and has_any(document, "training_method") and has_any(document, "base_model_name")


TRAINER: Final = Trainer(
    id=ID,
    title="EriDiffusion V2",
    repository="CodeAlexx/EriDiffusion (branch `master`)",
    sources={
        "read": "training/features/sample_library.rs",
        "resolved": "bin/sample_sd35.rs, train_sd35.rs",
        "noise": "rand 0.8 StdRng, flame-core",
        "sigmas": "sampler/flux_sampler.rs, sdxl_sampler.rs; bin/sample_sd35.rs",
        "tokens": "bin/sample_*.rs",
        "layout": "bin/sample_*.rs",
    },
    listed=2,
    families=("flux", "sd35", "sdxl", "chroma"),
    files="the command line that samples or trains (text or `.sh`; also `train --model …`); JSON config with "
    "`validation_prompts_file` or `--prompts`; EriTrainer's own JSON; prompt library (JSON, also "
    "`serenity.sample_prompts.v1`); prompts file (one a line)",
    family_told_by="program, `model_type`, the base model's name; else `--family`",
    seeds=("42", "counts up; a library names them"),
    notations=NOTATIONS,
    recognise=is_eridiffusion_v2,
    doubt=nobody_else,
    read=read_eridiffusion_v2,
    variables=False,
    tells_placeholder=no_placeholder,
    model_files=MODEL_FILES,
    ways=WAYS,
    # A sample program is given a folder; here each training step has its own.
    layout=Layout(
        "{run}/step_{step}/{stem}",
        "png",
        others={
            IN_RUN: Layout(
                "{run}/sample_step{step}_{pth}",
                "png",
                families={"chroma": Layout("{run}/sample_step{step}_{bpth}", "png")},  # train_chroma.rs L887-889, L1327
            )
        },
    ),
    layout_claim=Claim("file layout", "as its source says"),
    # bin/train_sd35.rs, train_chroma.rs; bin/sample_*.rs
    saved=(
        SavedName(rf"sample_step(?P<step>[0-9]+)(?:_base)?(?:_p(?P<number>[0-9]+))?{PICTURE}"),
        SavedName(rf"sample_(?P<number>[0-9]+){PICTURE}"),
    ),
    checkpoints=(
        Scheme(rf"(?P<run>[^/]+_lora)_step{NUMBER}{TWIN}"),
        Scheme(rf"(?P<run>[^/]+_lora)_{NUMBER}steps{TWIN}"),
    ),
    checkpoints_beside=(),
)
