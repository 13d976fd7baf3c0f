"""What EriDiffusion V2's configs are written in."""

from __future__ import annotations

import re
from typing import Final

from ...configs.parse import Notations, Programs

#: Its programs, as a command line starts them; only there it says what it samples.
PROGRAMS: Final = re.compile(
    r"(?<![\w-])((?:train|sample)_(?:flux|sd35|sdxl|klein|zimage|chroma|qwenimage|anima|ernie|hidream_o1|ideogram"
    r"|ltx2|wan22|asymflow|acestep|u1|l2p))(?:\.exe)?(?![\w.-])"
)

NOTATIONS: Final = Notations(lines=True, programs=Programs(PROGRAMS, repeats=False))
