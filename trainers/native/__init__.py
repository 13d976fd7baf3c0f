"""The pack's own form."""

from __future__ import annotations

from typing import Final

from ...configs.parse import Notations
from ...configs.tree import has_any
from ...families import FAMILIES
from ...images.saved_names import PICTURE, SavedName
from ...images.template import Layout
from ..claims import tested
from ..trainer import Trainer, nobody_else
from .reader import MARKER, read_native
from .sampling import ID, WAYS

TRAINER: Final = Trainer(
    id=ID,
    title="the pack's own form",
    repository="the pack's own form; the families' own code",
    sources={
        "read": "docs/native-spec.schema.json",
        "resolved": "docs/native-spec.md",
        "noise": "torch.randn",
        "sigmas": "flux sampling.py::get_schedule; diffusers",
        "tokens": "ComfyUI's text encoders",
        "layout": "images/template.py",
    },
    listed=8,
    families=tuple(FAMILIES),
    files="JSON, YAML ([native-spec.md](native-spec.md))",
    family_told_by="`family`",
    seeds=("random", "each its own"),
    notations=Notations(repeated_keys=False),
    recognise=lambda document: has_any(document, MARKER),
    doubt=nobody_else,
    read=read_native,
    variables=False,
    tells_placeholder=lambda _: True,  # its prompts are meant as they are written
    model_files={},
    ways=WAYS,
    layout=Layout("{run}/step_{step:06}/{name}", "png", prompt_file=True),
    layout_claim=tested("file layout", "images/test_layouts.py::test_names"),
    saved=(SavedName(rf"step_(?P<step>[0-9]+)/sample_(?P<index>[0-9]+){PICTURE}"),),
    checkpoints=(),
    checkpoints_beside=(),
)
