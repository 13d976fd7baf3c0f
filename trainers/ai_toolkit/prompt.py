"""ai-toolkit's inline `--flags` in a prompt.

Source: ostris/ai-toolkit `toolkit/config_modules.py::GenerateImageConfig._process_prompt_string`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ...configs.prompt_flags import lookalike

#: flag -> (setting, type). Flags are case-sensitive; any other flag is dropped together with its text.
_FLAGS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "p2": ("prompt_2", str),
    "n": ("negative_prompt", str),
    "n2": ("negative_prompt_2", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "seed": ("seed", int),
    "l": ("guidance_scale", float),
    "cfg": ("guidance_scale", float),
    "s": ("steps", int),
    "steps": ("steps", int),
    "m": ("network_multiplier", float),
    "network_multiplier": ("network_multiplier", float),
    "gr": ("guidance_rescale", float),
    "a": ("adapter_conditioning_scale", float),
    "ref": ("refiner_start_at", float),
    "ev": ("extra_values", lambda text: [float(part) for part in text.split(",")]),
    "extra_values": ("extra_values", lambda text: [float(part) for part in text.split(",")]),
    "frames": ("num_frames", int),
    "num_frames": ("num_frames", int),
    "fps": ("fps", int),
    "ctrl_img": ("ctrl_img", str),
    "ctrl_idx": ("ctrl_idx", int),
}

_LOOKALIKE: Final = lookalike(_FLAGS)


class FlagError(ValueError):
    """A flag whose value is no number; the trainer stops on it."""


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt without its flags. settings: last value of each setting given. dropped: parts that no flag claims.

    meant: what stays in the prompt and looks like a flag.
    """

    prompt: str
    settings: dict[str, Any]
    dropped: list[str]
    meant: list[str]


def parse_prompt(text: str) -> ParsedPrompt:
    """Split a prompt from its inline flags as ai-toolkit does: at every `--`, even inside a word.

    Raises FlagError naming the flag when its value is no number of the right kind.
    """
    head, *parts = text.strip().split("--")
    settings: dict[str, Any] = {}
    dropped: list[str] = []
    for part in parts:
        flag = part.split(" ")[0].strip()
        value = part[len(flag) :].strip()
        if flag not in _FLAGS:
            dropped.append("--" + part.rstrip())
            continue
        name, kind = _FLAGS[flag]
        try:
            settings[name] = kind(value)
        except ValueError:
            raise FlagError(f"--{flag} needs a number, {value!r} is none") from None
        if isinstance(settings[name], float) and not math.isfinite(settings[name]):
            raise FlagError(f"--{flag} needs a finite number, not {value!r}")
    return ParsedPrompt(head.strip(), settings, dropped, _LOOKALIKE.findall(head))
