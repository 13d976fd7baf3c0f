"""How a trainer names the samples that it saves itself.

It may do so in more forms than its layout has, such as an epoch in place of the step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: What a pattern's groups may say: the training step, or the epoch; the sample's number from 0 (index) or from 1
#: (number), or its own name (label); a beginning of the prompt (words), the seed, the run; when it was saved (time).
GROUPS: Final = frozenset(("step", "epoch", "index", "number", "label", "words", "seed", "run", "time"))


@dataclass(frozen=True)
class SavedName:
    """One form of a trainer's file names.

    A name without step and epoch is that of a LoRA which somebody chose; one without a sample is that of the first.

    Args:
        pattern: a regular expression of the path below the run's folder, "/" between folders, with `GROUPS`.
    """

    pattern: str

    def __post_init__(self) -> None:
        unknown = re.compile(self.pattern).groupindex.keys() - GROUPS
        if unknown:
            raise ValueError(f"{self.pattern}: there is no group {', '.join(sorted(unknown))}")

    @property
    def shared_folder(self) -> str:
        """The folder of names that tell their run, so that several runs may lie in it; "" = they do not tell it."""
        folder, _, name = self.pattern.partition("/")
        return folder if folder.isidentifier() and "(?P<run>" in name else ""

    def read(self, path: str) -> dict[str, str] | None:
        """What a path says, by group; None where it is not of this form."""
        match = re.fullmatch(self.pattern, path)
        return None if match is None else {name: text for name, text in match.groupdict().items() if text is not None}


PICTURE: Final = r"\.(?:png|jpe?g|webp)"
