"""The config that lora-scripts' page exports: sd-scripts' arguments, and fields from which it writes the prompt file.

Source: Akegarasu/lora-scripts@fdefba9 `mikazuki/app/api.py:88-118` (`get_sample_prompts`), `:43-53`, `:144-148`.
"""

from __future__ import annotations

from typing import Final

from ...configs.fields import Section
from ...configs.prompt_flags import KOHYA
from .prompts import Entry, entry_of_text

_PROMPT: Final = "positive_prompts"
#: Flag of the prompt line -> field of the page, and what it is without one; in the order in which they are written.
_FLAGS: Final = {
    "w": ("sample_width", "512"),
    "h": ("sample_height", "512"),
    "l": ("sample_cfg", "7"),
    "s": ("sample_steps", "24"),
    "d": ("sample_seed", "2333"),
}
#: What the page calls a training -> the script that it starts.
_TRAININGS: Final = {
    "sd-lora": "train_network",
    "sdxl-lora": "sdxl_train_network",
    "sdxl-finetune": "sdxl_train",
    "sd3-lora": "sd3_train_network",
    "flux-lora": "flux_train_network",
    "flux-finetune": "flux_train",
}


def script_of(args: Section) -> str | None:
    """The script that the page starts for an exported config, None for any other config."""
    return _TRAININGS.get(args.text("model_train_type") or "")


def exported_entries(args: Section) -> list[Entry]:
    """The prompts of an exported config, as they stand in the file that is made of it; empty for any other config."""
    node = args.get(_PROMPT)
    if node is None:
        return []
    if args.flag("randomly_choice_prompt"):
        args.reading.note(f"randomly_choice_prompt: the trainer takes a caption of its data set instead of {_PROMPT}.")
    settings = " ".join(f" --{flag} {_written(args, field, default)}" for flag, (field, default) in _FLAGS.items())
    text = f"{args.text(_PROMPT)} --n {_written(args, 'negative_prompts', '')} {settings}"
    return [
        entry_of_text(args.reading, line.strip(), node, f"{_PROMPT}, its line {number}", KOHYA)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.startswith("#")
    ]


def _written(args: Section, key: str, default: str) -> str:
    node = args.get(key)
    return default if node is None else str(node.value)
