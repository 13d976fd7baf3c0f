"""How a naming scheme of checkpoints is written, and the pieces that several schemes share.

Names are matched without `.safetensors` and relative to the run folder, with `/` between folders. Zero padding varies
between versions of the trainers, so digits are parsed and never formatted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final

TWIN_SUFFIX: Final = "_comfyui"  # EriDiffusion V2's companion of the same step with kohya's keys

NUMBER: Final = r"(?P<number>[0-9]+)"
EPOCH: Final = r"(?P<epoch>[0-9]+)"
TWIN: Final = rf"(?P<twin>{TWIN_SUFFIX})?"
# SimpleTuner keeps the newest state in `-rolling` and may add another word; `-tmp` is one that is being written
CHECKPOINT: Final = rf"checkpoint-{NUMBER}(?P<rolling>-(?!tmp)[A-Za-z]\w*)?"


@dataclass(frozen=True)
class Scheme:
    """One way to name checkpoints.

    Args:
        pattern: the whole name, with the group `number`, and the groups `run`, `epoch`, `twin`, `rolling` if it has
            them.
        counts_epochs: whether the number counts epochs, not steps.
        sure: False when the name alone does not show that this is a LoRA.
        run_names: maps names of the same run to its one name.
    """

    pattern: str
    counts_epochs: bool = False
    sure: bool = True
    run_names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern + "$")


@dataclass(frozen=True)
class Beside:
    """A file in the same folder that shows a trainer whose checkpoints have another trainer's names.

    Args:
        named_by: the trainer whose names they are, which `Checkpoint.trainer` would be otherwise.
        file: the name of the JSON file beside the checkpoint.
        key: a key that the file must hold; "" means that the file itself is enough.
    """

    named_by: str
    file: str
    key: str = ""
