"""Reads kohya's flags in a prompt line, which musubi-tuner took over with other letters.

Sources: kohya-ss/sd-scripts `library/train_util.py::line_to_prompt_dict`, kohya-ss/musubi-tuner
`training/sampling_prompts.py::line_to_prompt_dict`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: How a flag's value is read: the beginning that looks right counts, and the rest is dropped; what it is turned into.
_KINDS: Final[dict[str, tuple[re.Pattern[str], Callable[[str], Any]]]] = {
    "int": (re.compile(r"\d+"), int),
    "steps": (re.compile(r"\d+"), lambda word: max(1, min(_MOST_STEPS, int(word)))),
    "float": (re.compile(r"[\d.]+"), float),
    "any float": (re.compile(r".+"), float),
    "text": (re.compile(r".+"), str),
    "path": (re.compile(r".+"), str.strip),
    "paths": (re.compile(r".+"), lambda word: [word.strip()]),
}
_MOST_STEPS: Final = 1000
#: The dashes and the minus sign that a word processor makes of hyphens.
_DASHES: Final = "\u2010-\u2015\u2212"


def lookalike(names: Iterable[str]) -> re.Pattern[str]:
    """Finds what a person meant as one of these flags, but no trainer does: other dashes, or no blank before it."""
    either = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return re.compile(rf"(?:(?<!\S)-*[{_DASHES}][-{_DASHES}]*|--)(?:{either})[ \t=]+\S+", re.IGNORECASE)


class Grammar:
    """The flags of one trainer.

    Args:
        flags: the setting and its kind, one of `_KINDS`, by the flag's letters.
    """

    def __init__(self, flags: Mapping[str, tuple[str, str]]) -> None:
        self.flags = dict(flags)
        self.kinds = dict(flags.values())
        longest_first = sorted(flags, key=len, reverse=True)
        self.lookalike = lookalike(flags)
        self.start = re.compile(rf"({'|'.join(longest_first)}) ", re.IGNORECASE)


KOHYA: Final = Grammar(
    {
        "w": ("width", "int"),
        "h": ("height", "int"),
        "d": ("seed", "int"),
        "s": ("sample_steps", "steps"),
        "l": ("scale", "float"),
        "g": ("guidance_scale", "float"),
        "n": ("negative_prompt", "text"),
        "ss": ("sample_sampler", "text"),
        "cn": ("controlnet_image", "text"),
        "ctr": ("cfg_trunc_ratio", "any float"),
        "rcfg": ("renorm_cfg", "any float"),
        "fs": ("flow_shift", "text"),
    }
)
MUSUBI: Final = Grammar(
    {
        "w": ("width", "int"),
        "h": ("height", "int"),
        "f": ("frame_count", "int"),
        "d": ("seed", "int"),
        "s": ("sample_steps", "steps"),
        "g": ("guidance_scale", "float"),
        "fs": ("discrete_flow_shift", "float"),
        "l": ("cfg_scale", "float"),
        "n": ("negative_prompt", "text"),
        "i": ("image_path", "path"),
        "ei": ("end_image_path", "path"),
        "cn": ("control_video_path", "path"),
        "ci": ("control_image_path", "paths"),
        "of": ("one_frame", "path"),
    }
)


@dataclass(frozen=True)
class PromptLine:
    """A prompt and what its flags set.

    Attributes:
        prompt: the text before the first flag.
        settings: values by the names that `Grammar` gives them.
        dropped: texts that have no effect, as they are written.
        surprises: sentences on what a person would not expect.
    """

    prompt: str
    settings: dict[str, Any]
    dropped: list[str]
    surprises: list[str]


def parse_prompt_line(line: str, grammar: Grammar) -> PromptLine:
    """Split a prompt from its flags at every " --"; of several equal flags the last counts, but paths are collected.

    The prompt itself may be a flag too, as in the trainers: one that starts like "s 4 ..." sets the steps.
    Nothing raises: the trainers drop what does not fit a flag without a word, here it goes into `dropped`.
    """
    parts = line.split(" --")
    found = PromptLine(parts[0], {}, [], [])
    for meant in grammar.lookalike.findall(parts[0]):
        found.surprises.append(f"{meant!r} stays in the prompt: a flag begins with a blank and two plain hyphens")
    for position, part in enumerate(parts):
        flag = grammar.start.match(part)
        # (ignoring case, "ſ" equals "s" and "K" (Kelvin) equals "k"; the trainers' patterns share this)
        name = flag[1].lower().replace("ſ", "s") if flag else ""
        setting, kind = grammar.flags.get(name, ("", "text"))
        pattern, convert = _KINDS[kind]
        value = pattern.match(part, flag.end()) if flag and setting else None
        try:
            number = convert(value[0]) if value else None
        except ValueError:  # Python reads no number in it; the trainers log that and go on
            number = None
        if value is None or number is None:
            if position:
                found.dropped.append(f"--{part}")
            continue
        found.settings[setting] = [*found.settings.get(setting, ()), *number] if kind == "paths" else number
        rest = part[value.end() :].strip()
        if not position:
            found.surprises.append(f"the prompt itself starts like the flag --{name} and sets {setting} to {number!r}")
        elif rest:
            found.dropped.append(rest)
    return found
