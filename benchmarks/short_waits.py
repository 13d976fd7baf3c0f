"""What should take no time that anybody notices: importing, drawing noise, refusing a hostile config.

    python benchmarks/short_waits.py [--json]

The best of several runs, in milliseconds of processor time. Importing is done in a fresh
process; the goal is less than 50 for the package alone. Noise is that of one 1024 × 1024 picture; the goal is less than
1000. Hostile configs are a bomb of YAML aliases and a text of 10 MB; the goal is less than 500.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable

from comfyui_eridiffusion.benchmarks.stopwatch import best

IMPORTED = ("", ".cli", ".spec", ".workflows", ".commands.app", ".lora", ".samplers.noise")
CLOCK = "import time; start = time.process_time(); import comfyui_eridiffusion{0}; print(time.process_time() - start)"


def importing(name: str) -> float:
    """Least processor time of importing a part of the package in a fresh process, in milliseconds."""
    command = [sys.executable, "-c", CLOCK.format(name)]
    return 1e3 * min(float(subprocess.check_output(command, cwd="/")) for _ in range(3))  # noqa: S603 - our own


def noise(generator: str) -> Callable[[], object]:
    from comfyui_eridiffusion.samplers.noise import initial_noise

    return lambda: initial_noise(f"{generator}/packed/bfloat16", 1, 1, 16, 128, 128)


def refusing(text: str) -> Callable[[], object]:
    from comfyui_eridiffusion.errors import SpecError
    from comfyui_eridiffusion.spec import read_spec

    def refuse() -> None:
        try:
            read_spec(text)
        except SpecError:
            return
        raise AssertionError("it was not refused")

    return refuse


def alias_bomb() -> str:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 12))])


def main() -> int:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    from comfyui_eridiffusion.samplers.noise import GENERATORS

    found = {f"import comfyui_eridiffusion{name}": importing(name) for name in IMPORTED}
    found |= {f"noise, {generator}": best(noise(generator)) for generator in GENERATORS}
    hostile = {"aliases": alias_bomb(), "10 MB": "a: b\n" * 2_000_000}
    found |= {f"refusing {what}": best(refusing(text)) for what, text in hostile.items()}
    if as_json:
        print(json.dumps({name: round(time, 2) for name, time in found.items()}))
    else:
        print("\n".join(f"{time:7.1f} ms  {name}" for name, time in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
