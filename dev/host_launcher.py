"""Runs a ComfyUI's `main.py` in this process and ends it when the program that started it goes away.

Started by `local_host` as a plain script, in the host's own Python: standard library only, no package imports.
Usage: `host_launcher.py MAIN.PY [host arguments]`. With ERI_HOST_TETHER=1 standard input is a pipe held open by the
parent; its end of file (parent stopped, killed or crashed; on every system) is the order to stop.
"""

from __future__ import annotations

import _thread
import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 5.0


def _stop_at_end_of_input() -> None:
    while os.read(0, 1024):
        continue
    # the host's own Ctrl-C path: it removes its temporary files; a real signal also wakes a waiting event loop
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def main() -> None:
    """Take over `sys.argv` and `sys.path` the way `python main.py …` would have set them, then run it."""
    script = os.path.abspath(sys.argv[1])
    sys.argv = [script, *sys.argv[2:]]
    sys.path[0] = os.path.dirname(script)
    if os.environ.pop("ERI_HOST_TETHER", "") == "1":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the parent ran in the background
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
