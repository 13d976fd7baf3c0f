"""`eri`: training configs and LoRA runs in, samples from a ComfyUI out.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input, 130 interrupted. The commands are in `commands/`; nothing of
them is imported before Ctrl-C and SIGTERM are heard.
"""

from __future__ import annotations

import atexit
import gc
import sys

from .commands import interrupts


def main() -> None:
    """Entry point of `eri`; ends the program with its exit code."""
    interrupts.hear()
    atexit.register(gc.freeze)  # looking for garbage at the very end takes as long as `import typer`
    gc.disable()
    try:
        from .commands.app import app
        from .commands.shared import print_any_text
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in ("typer", "rich"):
            raise
        raise SystemExit(
            f"eri needs the package {package!r}, part of the extra 'cli'. "
            'Install it with: pip install "eridiffusion[cli]", in a clone: pip install -e ".[cli]"'
        ) from None
    gc.freeze()  # modules are no garbage: only what a command makes is looked through
    gc.enable()
    print_any_text()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(interrupts.EXIT_CODE)
    finally:
        sys.stdout.flush()
        interrupts.go(interrupts.leave)
