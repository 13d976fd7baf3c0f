"""Every dialect and family: the host adds strength · alpha / rank · up @ down, as computed beside the pack."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_eridiffusion.lora import load_report, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.lora.dialects import DIALECTS
from comfyui_eridiffusion.tests.lora.dialect_files import CASES, Case
from comfyui_eridiffusion.tests.lora.host_models import host_changes, host_key_map
from comfyui_eridiffusion.tests.lora.lora_files import RANK, assert_same_changes, expected_changes

pytestmark = pytest.mark.usefixtures("comfy_host")

STRENGTH = -0.75
# what the file says of alpha, by where it says it
SOURCES = {
    "header": "header",
    "adapter_config.json": "adapter_config.json",
    "metadata.json": "metadata.json",
}


def stated(case: Case) -> tuple[float, str]:
    """The alpha and its source that reading must find."""
    if case.in_tensors and case.alpha is not None:
        return case.alpha, "tensors"
    if case.dialect == "ai-toolkit":
        return float(RANK), "the trainer's rule"
    if case.alpha is None or case.folded:
        return float(RANK), "none"
    beside = next(iter(case.beside), "header")
    return case.alpha, SOURCES[beside]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_dialect(tmp_path: Path, case: Case) -> None:
    path, pairs = case.write(tmp_path)
    lora = read_lora(path, family=case.family)
    assert (lora.dialect, lora.family, lora.rank) == (case.dialect, case.family, RANK)
    assert (lora.alpha, lora.alpha_source) == stated(case)
    assert lora.unmatched == ()
    expected = expected_changes(case.places, pairs, STRENGTH)
    state = to_host_keys(lora)
    assert_same_changes(host_changes(case.family, state, STRENGTH), expected)
    assert_same_changes(merged_delta(lora, STRENGTH), expected)
    report = load_report(lora, host_key_map(case.family).keys())
    assert report.unmatched == ()
    assert report.matched == len(lora.tensors)


def test_every_dialect_of_the_table_has_a_file() -> None:
    assert {case.dialect for case in CASES} == {dialect.name for dialect in DIALECTS}
