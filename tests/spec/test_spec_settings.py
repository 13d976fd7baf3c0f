"""Settings that no graph can have: the error names the field and the words that there are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_eridiffusion.errors import WorkflowError
from comfyui_eridiffusion.families import FAMILIES
from comfyui_eridiffusion.samplers import schedules
from comfyui_eridiffusion.spec import SpecError, read_spec
from comfyui_eridiffusion.workflows import build


@pytest.mark.parametrize(
    ("family", "item", "sampling", "field", "message"),
    [
        ("sdxl", {"sampler": "warp"}, {}, "sampler", "no sampler 'warp'.*ddim, euler, ddpm, euler_a"),
        ("flux", {"sampler": "heun"}, {}, "sampler", "no sampler 'heun'.*euler.*ddim"),
        ("sdxl", {}, {"spacing": "cosine"}, "sampling.spacing", "'cosine' for sdxl.*leading, trailing, linspace"),
        ("sd35", {}, {"spacing": "leading"}, "sampling.spacing", "'leading' for sd35.*timesteps, linear, cosine"),
        ("flux", {}, {"spacing": "cosine"}, "sampling.spacing", "'cosine' for flux.*linear, timesteps"),
        ("flux", {}, {"memory": "offload, magic"}, "sampling.memory", "'magic'.*offload, sequential"),
        ("sdxl", {"lora_scale": "strong"}, {}, "items[0].lora_scale", "'strong' in quotes is no finite number"),
        ("sdxl", {"sampler": "heun"}, {"s_churn": 1.0}, "sampling.s_churn", "does not act on the sampler heun"),
    ],
)
def test_settings_of_the_own_form_name_the_field_and_what_is_known(
    family: str, item: dict[str, Any], sampling: dict[str, Any], field: str, message: str
) -> None:
    entry = {"prompt": "a", "width": 64, "height": 64, "steps": 2, **item}
    text = json.dumps({"eri_spec": 1, "family": family, "sampling": sampling, "items": [entry]})
    with pytest.raises(SpecError if field.startswith("items") else WorkflowError, match=message) as caught:
        build(read_spec(text))
    assert caught.value.field == field


def test_every_family_knows_the_words_of_its_schedules() -> None:
    for family in FAMILIES.values():
        flow = schedules.FLUX_SPACINGS if family.embedded_guidance else schedules.SPACINGS
        discrete = family.schedule(family.reference) == "timesteps"
        assert family.spacings == (schedules.DDIM_SPACINGS if discrete else flow), family.id
