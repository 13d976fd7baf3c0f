"""ai-toolkit's sampling rules once more, restated independently of the pack and sharing no code with it.

`expected_images(sample, trigger, family)` takes the plain dict of a sample section (config.name already put in).
"""

from __future__ import annotations

import re
from typing import Any

NUMERIC = {
    "w": "width",
    "h": "height",
    "d": "seed",
    "seed": "seed",
    "s": "steps",
    "steps": "steps",
    "l": "scale",
    "cfg": "scale",
    "m": "strength",
    "network_multiplier": "strength",
}


def split_flags(text: str) -> tuple[str, dict[str, Any]]:
    """Prompt and flags: every `--` starts a flag, whose name ends at the first space."""
    pieces = re.split("--", text.strip())
    found: dict[str, Any] = {}
    for piece in pieces[1:]:
        name, _, value = piece.partition(" ")
        if name == "n":
            found["negative"] = value.strip()
        elif name in NUMERIC:
            number = float(value) if NUMERIC[name] in ("scale", "strength") else int(value)
            found[NUMERIC[name]] = number
    return pieces[0].strip(), found


def side(value: int, family: str) -> int:
    """Whole latent cells, at least 64 pixels; Flux packs two by two."""
    value = max(64, value // 8 * 8)
    return value // 16 * 16 if family == "flux" else value


def expected_seeds(entries: list[dict[str, Any]], start: int, walk: bool) -> list[int]:
    """Seeds before inline flags: an item's own seed sticks unless the section walks."""
    if walk:
        return [entry.get("seed", start + index) for index, entry in enumerate(entries)]
    seeds: list[int] = []
    for entry in entries:
        seeds.append(entry.get("seed", seeds[-1] if seeds else start))
    return seeds


def expected_images(sample: dict[str, Any], trigger: str | None, family: str) -> list[dict[str, Any]]:
    """Every image the section makes."""
    entries = sample["samples"] if "samples" in sample else [{"prompt": text} for text in sample.get("prompts", [])]
    start, walk = sample.get("seed", 0), sample.get("walk_seed", False)
    images = []
    for entry, seed in zip(entries, expected_seeds(entries, start, walk), strict=True):
        text = entry["prompt"]
        if trigger is not None:
            text = text.replace("[trigger]", trigger)
        prompt, flags = split_flags(text)

        def pick(flag: str, key: str, default: Any, entry: Any = entry, flags: Any = flags) -> Any:
            return flags.get(flag, entry.get(key, sample.get(key, default)))

        final: int | None = flags.get("seed", seed)
        if "seed" not in flags and seed == -1:
            final = None
        images.append(
            {
                "prompt": prompt,
                "negative": pick("negative", "neg", False) or "",
                "width": side(pick("width", "width", 512), family),
                "height": side(pick("height", "height", 512), family),
                "seed": final,
                "steps": pick("steps", "sample_steps", 20),
                "scale": float(pick("scale", "guidance_scale", 7)),
                "strength": float(pick("strength", "network_multiplier", 1)),
            }
        )
    return images
