"""What sd-scripts' configs are written in; musubi-tuner's are too."""

from __future__ import annotations

import re
from typing import Final

from ...configs.parse import Notations, Programs

#: Training scripts of sd-scripts and musubi-tuner; without one of their TOML configs the arguments stand here.
_SCRIPTS: Final = re.compile(r"(?<![\w-])((?:flux_|sd3_|sdxl_|flux_kontext_)?train(?:_network)?)\.py(?![\w.-])")

NOTATIONS: Final = Notations(toml=True, lines=True, any_txt=True, programs=Programs(_SCRIPTS, repeats=True))
