"""EriDiffusion V2 (Rust, JSON and flags)."""

from __future__ import annotations

from typing import Final

from ...images.template import Layout
from ...lora.schemes import NUMBER, TWIN, Scheme
from ..claims import Claim
from ..trainer import Trainer, no_placeholder, nobody_else
from .notations import NOTATIONS
from .reader import read_eridiffusion_v2
from .recognise import is_eridiffusion_v2
from .sampling import ID, WAYS

TRAINER: Final = Trainer(
    id=ID,
    title="EriDiffusion V2",
    repository="CodeAlexx/EriDiffusionV2",
    sources={
        "read": "training/features/sample_library.rs",
        "resolved": "bin/sample_sd35.rs, train_sd35.rs",
        "noise": "rand 0.8 StdRng, flame-core",
        "sigmas": "bin/sample_sd35.rs; Flux' and SDXL's are not published",
        "tokens": "bin/sample_sd35.rs, sample_flux.rs",
        "layout": "bin/sample_*.rs",
    },
    listed=2,
    families=("flux", "sd35", "sdxl", "chroma"),
    files="the command line that samples (text or `.sh`); JSON config with `validation_prompts_file` or `--prompts`; "
    "prompt library (JSON); prompts file (one a line)",
    family_told_by="program, `model_type`; else `--family`",
    seeds=("42", "counts up; a library names them"),
    notations=NOTATIONS,
    recognise=is_eridiffusion_v2,
    doubt=nobody_else,
    read=read_eridiffusion_v2,
    variables=False,
    tells_placeholder=no_placeholder,
    ways=WAYS,
    layout=Layout("{run}/sample_step{step}[_seed{nth}]", "png"),
    layout_claim=Claim("file layout", "as its source says"),
    checkpoints=(
        Scheme(rf"(?P<run>[^/]+_lora)_step{NUMBER}{TWIN}"),
        Scheme(rf"(?P<run>[^/]+_lora)_{NUMBER}steps{TWIN}"),
    ),
    checkpoints_beside=(),
)
