"""Which fields of Triple Text Encode the canvas hides (web/js/fields.js), beside what the families' encoders are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from comfyui_eridiffusion.families import FAMILIES

SCRIPT = (Path(__file__).parents[2] / "web" / "js" / "fields.js").read_text(encoding="utf-8")
ROWS = re.findall(r"^  ([a-z]\w+): (\[.+\]),$", SCRIPT, re.MULTILINE)
UNUSED = {family: set(json.loads(names)) for family, names in ROWS}


def test_fields_without_use_are_those_of_encoders_that_a_family_has_not() -> None:
    assert UNUSED.keys() == FAMILIES.keys()
    for family in FAMILIES.values():
        encoders = {encoder.tokens for encoder in family.encoders}
        unused = UNUSED[family.id]
        for number in (2, 3):
            assert (f"prompt_{number}" in unused) == (number > len(encoders)), family.id
        assert ("t5_length" in unused) == ("t5xxl" not in encoders)
        assert ("missing" in unused) == (family.fewest_encoders == len(encoders))
        assert {"long_prompt", "text_rules"} <= unused or not encoders <= {"t5xxl"}
        assert ("t5_padding" in unused) == (encoders != {"t5xxl"})
