"""How a naming scheme of checkpoints is written down, and the pieces that several of them share.

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
        pattern: the whole name, with the groups `number`, and where it has them `run`, `epoch`, `twin`, `rolling`.
        counts_epochs: whether the number counts epochs, not steps.
        sure: False where the name alone does not show that this is a LoRA.
        run_names: names that stand for the same run -> what to call it.
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
    """What tells a trainer whose checkpoints carry another's names: a file in the same folder.

    Args:
        named_by: whose names they are, as `Checkpoint.trainer` says it otherwise.
        file: name of the JSON file beside the checkpoint.
        key: key that the file must hold, "" = the file itself is enough.
    """

    named_by: str
    file: str
    key: str = ""
