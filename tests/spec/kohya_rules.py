"""kohya's prompt rules once more, restated from its documentation and sharing no code with the pack.

`expected_line(text)` gives the prompt and the settings of one line; `expected_image(settings, family)` the image.
"""

from __future__ import annotations

from typing import Any

WHOLE = {"w": "width", "h": "height", "d": "seed", "s": "sample_steps"}
DECIMAL = {"l": "scale", "g": "guidance_scale"}
TEXT = {"n": "negative_prompt", "ss": "sample_sampler"}


def leading(text: str, allowed: str) -> str:
    """The start of a text that consists of these characters."""
    count = 0
    while count < len(text) and text[count] in allowed:
        count += 1
    return text[:count]


def expected_line(text: str) -> tuple[str, dict[str, Any]]:
    """Every piece between " --" is looked at, the prompt too; later flags win."""
    pieces = text.split(" --")
    found: dict[str, Any] = {}
    for piece in pieces:
        letters, blank, rest = piece.partition(" ")
        letters = letters.lower()
        if not blank:
            continue
        if letters in WHOLE:
            digits = leading(rest, "0123456789")
            if digits:
                found[WHOLE[letters]] = int(digits)
        elif letters in DECIMAL:
            word = leading(rest, "0123456789.")
            if word.strip(".") and word.count(".") < 2:
                found[DECIMAL[letters]] = float(word)
        elif letters in TEXT and rest and not rest.startswith("\n"):
            found[TEXT[letters]] = rest.split("\n")[0]
    if "sample_steps" in found:
        found["sample_steps"] = min(max(found["sample_steps"], 1), 1000)
    return pieces[0], found


def side(value: int, family: str) -> int:
    """Down to whole latent cells (Flux: pairs of them), at least 64."""
    cell = 16 if family == "flux" else 8
    return max(64, value // cell * cell)


def expected_image(found: dict[str, Any], family: str) -> dict[str, Any]:
    """The image that the trainer makes of a line's settings."""
    flux = family == "flux"
    scale = found.get("scale", 1.0 if flux else 7.5)
    return {
        "width": side(found.get("width", 512), family),
        "height": side(found.get("height", 512), family),
        "steps": found.get("sample_steps", 20 if flux else 30),
        "seed": found.get("seed"),
        "negative_prompt": found.get("negative_prompt", ""),
        "cfg_scale": max(scale, 1.0) if family == "sdxl" else scale,
        "guidance": found.get("guidance_scale", 3.5) if flux else None,
    }
