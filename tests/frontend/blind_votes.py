"""A blind comparison, done by a voter who prefers the later step and can tell steps by the pictures' colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

#: Which side's picture is brighter: 1 the left one, 2 the right one. Read from what is on the page.
BRIGHTER = """() => {
    const light = canvas => canvas.getContext('2d').getImageData(5, 5, 1, 1).data[0];
    const [left, right] = [...document.querySelectorAll('.eri-blind canvas')].map(light);
    return left === right ? null : left > right ? '1' : '2';
}"""
#: Whether a pair is on the page that may be voted on, this many votes having been given.
READY = """given => {
    const count = document.querySelector('.eri-blind .eri-buttons span')?.textContent;
    const drawn = [...document.querySelectorAll('.eri-blind canvas')].every(one => one.width > 1);
    return count?.startsWith(`${given} `) && drawn;
}"""


def bright_sample(path: Path, step: int) -> None:
    """A picture that shows its step: the later, the brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (96, 64), (step // 2, 60, 60)).save(path)


def prefer_later(page: Any, count: int, shown: Callable[[], None] = lambda: None) -> None:
    """Vote until the result is there; one vote is taken back and given again. `shown()` is called at a pair."""
    for given in range(count):
        page.wait_for_function(READY, arg=given)
        told = page.locator(".eri-blind").evaluate("dialog => dialog.outerHTML")
        assert not [word for word in ("step", "view?", "filename", "<img", "blob:", "Step") if word in told]
        key = page.evaluate(BRIGHTER)
        if given == 1:
            shown()
            page.keyboard.press({"1": "2", "2": "1"}[key])
            page.wait_for_function(READY, arg=2)
            page.keyboard.press("u")
            page.wait_for_function(READY, arg=1)
            assert page.evaluate(BRIGHTER) == key
        page.keyboard.press(key)
    page.locator(".eri-blind-chart").wait_for()
