"""Ctrl-C and SIGTERM, which end a command in one and the same way (standard library only: it is there first).

What a signal does depends on what runs:

- Before a command begins there is nothing to end in order, and an exception could be lost: importing drops those that
  come inside importlib's own callbacks. The program is over at once.
- The command's own code gets KeyboardInterrupt.
- In an event loop the command's task is cancelled. KeyboardInterrupt would come in whatever task runs at the moment.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

EXIT_CODE: Final = 130
BOTH: Final = (signal.SIGINT, signal.SIGTERM)


def end_at_once() -> NoReturn:
    """Say that the program was interrupted, in JSON too where that was asked for, and end it."""
    os.write(2, b"error: interrupted\n")
    if "--json" in sys.argv:
        os.write(1, b'{"error": {"kind": "interrupted", "message": "interrupted"}}\n')
    leave()


def leave() -> NoReturn:
    """End the program without a word: what it had to say was said."""
    os._exit(EXIT_CODE)


def raise_interrupt() -> NoReturn:
    """Raise KeyboardInterrupt, as Python does by itself on Ctrl-C."""
    raise KeyboardInterrupt


_way: Callable[[], object] = end_at_once
_dropped = False


def hear() -> None:
    """Have both signals, from now on, do what `go` says; one that this program was started to ignore stays ignored."""
    for number in BOTH:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)
    sys.unraisablehook = _repeat
    atexit.register(_ignore)  # the first one that is registered is the last one that is called


def go(way: Callable[[], object]) -> None:
    """Have a signal, from now on, call `way` in the main thread."""
    global _way
    _way = way


@contextlib.contextmanager
def going(way: Callable[[], object]) -> Iterator[None]:
    """Have a signal call `way` meanwhile."""
    before = _way
    go(way)
    try:
        yield
    finally:
        go(before)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do what `asyncio.run` does; a signal cancels `work`, and once that has ended KeyboardInterrupt is raised.

    A second signal cancels `work` again, while it ends in order; a third one ends the program at once.
    """
    import asyncio

    task: asyncio.Task[Any] | None = None
    signals = 0

    def cancel() -> None:
        nonlocal signals
        signals += 1
        if signals > 2:
            end_at_once()
        if task is not None and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def begin() -> T:
        nonlocal task
        task = asyncio.current_task()
        if signals and task is not None:
            task.cancel()
        return await work

    with going(cancel):
        try:
            result = asyncio.run(begin())
        except BaseException:
            if not signals:
                raise
        else:
            if not signals:
                return result
    raise KeyboardInterrupt


def _ignore() -> None:
    """Let Python take itself apart, all being said: it gives signals back to the system, which would kill it."""
    for number in BOTH:
        signal.signal(number, signal.SIG_IGN)


def _hear(_number: int, frame: FrameType | None) -> None:
    global _dropped
    while frame is not None:
        if frame.f_code is _repeat.__code__:
            return  # an exception would be dropped once more; `_send_again` goes on
        frame = frame.f_back
    _dropped = False
    _way()


def _repeat(lost: sys.UnraisableHookArgs) -> None:
    """Have a KeyboardInterrupt that came where Python must drop it (in a `__del__`, in a callback) come again."""
    import threading

    global _dropped
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
    elif not _dropped:
        _dropped = True
        threading.Thread(target=_send_again, args=[threading.main_thread().ident], daemon=True).start()


def _send_again(main: int) -> None:
    import _thread
    import time

    time.sleep(0.02)
    while _dropped:
        if sys.platform == "win32":
            _thread.interrupt_main()
        else:  # a real signal also wakes a thread that sleeps
            signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(0.02)
