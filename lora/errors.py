"""The one exception of the LoRA package."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_SHOWN_KEYS = 5


class LoraError(ValueError):
    """A LoRA file or run folder cannot be used; the text names the file, the keys and the remedy.

    `path` is the file or folder, `keys` all tensor names concerned (the text shows the first few), and `retryable` is
    True only when the file looks half written, so that waiting a moment and reading it again may succeed.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        keys: Iterable[str] = (),
        remedy: str = "",
        retryable: bool = False,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.keys = tuple(keys)
        self.remedy = remedy
        self.retryable = retryable
        self.message = message
        super().__init__(self._text(message))

    def saying(self, more: str) -> LoraError:
        """The same error with `more` after its message."""
        return LoraError(
            f"{self.message} {more}", path=self.path, keys=self.keys, remedy=self.remedy, retryable=self.retryable
        )

    def _text(self, message: str) -> str:
        text = f"{self.path}: {message}" if self.path is not None else message
        if self.keys:
            text += f" [{shorten(self.keys)}]"
        return f"{text}. {self.remedy}" if self.remedy else text


def shorten(names: Iterable[str], limit: int = _SHOWN_KEYS) -> str:
    """The first `limit` names joined by commas, and how many more there are."""
    names = list(names)
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, … and {len(names) - limit} more"
