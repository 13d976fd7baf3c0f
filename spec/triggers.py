"""Finds and fills placeholders for a trigger word, in every spelling that configs use."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = r"trigger(?:[ _-]?words?)?"
_PLACEHOLDER: Final = re.compile(
    rf"\[\[\s*{_WORD}\s*\]\]|\[\s*{_WORD}\s*\]|\{{\{{\s*{_WORD}\s*\}}\}}|\{{\s*{_WORD}\s*\}}|<\s*{_WORD}\s*>",
    re.IGNORECASE,
)


def placeholders(text: str) -> list[str]:
    """The placeholders in a text as they are written, each once, in order.

    They are `[trigger]`, `{trigger_word}`, `<trigger-word>`, `{{ trigger }}` and the like, in capitals or not.
    """
    return list(dict.fromkeys(_PLACEHOLDER.findall(text)))


def fill_trigger(text: str, word: str) -> str:
    """The text with every placeholder replaced by the word."""
    return _PLACEHOLDER.sub(lambda _: word, text)
