"""Coverage-guided fuzzing of what reads other people's files, requests and messages (atheris, the extra `fuzz`).

    make fuzz ARGS="--runs 1000000"            # a part of the runs for each target, in turn
    make fuzz ARGS="--target config --runs 5000"

It goes on where it stopped: inputs that were interesting, counts and findings lie in `.workspace/fuzz`. A finding is an
error that is none of the pack's own, a second or more of processor time, or 256 MB and more of new memory. Findings
that are mended go to tests/fuzz/corpus, which the tests read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Final

import atheris

with atheris.instrument_imports(include=["comfyui_eridiffusion"]):
    from comfyui_eridiffusion.dev.host_install import ROOT, WORKSPACE
    from comfyui_eridiffusion.errors import EriError
    from comfyui_eridiffusion.tests.fuzz.targets import CORPUS, TARGETS, Target, by_name

import resource

FOLDER: Final = WORKSPACE / "fuzz"
SLOW_SECONDS: Final = 1.0
MUCH_KB: Final = 256 << 10
LONGEST: Final = 1 << 14
#: How many good inputs are kept to begin from.
GOOD: Final = 1000
#: What texts are cut into for changing them.
_PARTS: Final = re.compile(r"\w+|\s+|.", re.DOTALL)
#: What is put anywhere.
ODD: Final = [
    *("-1", "0", "0.5", "1e999", "9" * 400, "null", "NaN", "{}", "[]", '""', "[" * 3000, '{"a":' * 3000, "\0", "%"),
    *("é", "$x", "${a:-b}", "$x" * 200, "`", "\\", "'", '"', "#", "&a", "*a", "<<", "\r\n", "\u2028"),
]


def counts_of(target: Target) -> dict[str, Any]:
    """What was counted of a target up to now."""
    counts = {"runs": 0, "taken": 0, "refused": 0, "seconds": 0.0, "slowest": 0.0}
    path = FOLDER / f"{target.name}.json"
    return counts | (json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {})


class Record:
    """Counts and findings of a target, kept in a file."""

    def __init__(self, target: Target) -> None:
        self.target, self.path = target, FOLDER / f"{target.name}.json"
        self.counts = counts_of(target)
        self.good = list(target.seeds())
        self._started = time.monotonic()

    def one(self, data: bytes) -> None:
        """Read one input and count what came of it."""
        memory, began, outcome, fault = _memory(), time.process_time(), "refused", ""
        try:
            outcome = "taken" if self.target.read(data) else "refused"
        except EriError:
            pass
        except MemoryError as error:
            fault = f"memory: {_place(error)}"
        except Exception as error:  # noqa: BLE001 - any other is what this looks for
            fault = f"{type(error).__name__}: {_place(error)}"
        took, grown = time.process_time() - began, _memory() - memory
        if not fault and took >= SLOW_SECONDS:
            fault = "slow"
        if not fault and grown >= MUCH_KB:
            fault = "memory"
        if fault:
            self.find(fault, data, f"{took:.2f} s, {grown >> 10} MB\n{traceback.format_exc()}")
        self.counts["runs"] += 1
        self.counts[outcome] += 1
        if outcome == "taken" and len(data) < LONGEST >> 1:
            if len(self.good) < GOOD:
                self.good.append(data)
            else:  # those at the front are the first ones
                self.good[random.randrange(GOOD >> 1, GOOD)] = data
        self.counts["slowest"] = max(self.counts["slowest"], took)
        if self.counts["runs"] % 500 == 0:
            self.keep()

    def find(self, fault: str, data: bytes, text: str) -> None:
        """Keep the first input of each kind of fault."""
        name = f"{self.target.name}-{hashlib.sha256(fault.encode()).hexdigest()[:10]}"
        path = FOLDER / "findings" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(f"{fault}\n{text}", encoding="utf-8")

    def keep(self) -> None:
        """Write the counts."""
        now = time.monotonic()
        self.counts["seconds"] += now - self._started
        self._started = now
        self.path.write_text(json.dumps(self.counts), encoding="utf-8")


def _memory() -> int:
    """The most memory that this process ever had, in KB (on macOS in bytes, which finds nothing less)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _place(error: BaseException) -> str:
    """Where in the pack an error came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def _kind(part: str) -> str:
    """What a part is, so that most changes leave a text's form: a number, a constant, a word, blanks, or a sign."""
    if part in ("null", "true", "false", "None", "True", "False") or part.isdigit():
        return "value"
    return "word" if part[0].isalnum() or part[0] == "_" else "blank" if part.isspace() else "sign"


def changed(words: dict[str, list[str]], good: list[bytes], data: bytes, longest: int, seed: int) -> bytes:
    """A text of which one or two parts are others of their kind, or which now and then is damaged.

    libFuzzer goes by what it has not seen yet, which are the refusals; more than half begin from one that was good.
    """
    chance = random.Random(seed)
    if chance.random() < 0.15:
        return bytes(atheris.Mutate(data, longest))
    if chance.random() < 0.7:
        data = chance.choice(good)
    parts = _PARTS.findall(data[1:].decode("utf-8", "replace")) or [" "]
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(parts))
        while _kind(parts[at]) == "sign" and chance.random() < 0.9:
            at = chance.randrange(len(parts))
        how = chance.random()
        if how < 0.7:
            parts[at] = chance.choice(words[_kind(parts[at])])
        elif how < 0.8:
            parts[at] = chance.choice(words["odd"])
        elif how < 0.9:  # the rest of the line once more, or not at all
            end = next((place for place in range(at, len(parts)) if "\n" in parts[place]), len(parts) - 1) + 1
            parts[at:end] = parts[at:end] * chance.choice((0, 2))
        else:
            parts[at : at + chance.randint(0, 4)] = []
        parts = parts or [" "]
    head = data[:1] if chance.random() < 0.95 else bytes([chance.randrange(64)])
    return (head + "".join(parts).encode())[:longest]


def fuzz(target: Target, runs: int) -> None:
    """Run in this process, which ends with it."""
    logging.disable()
    record = Record(target)
    seeds, corpus = FOLDER / "seeds" / target.name, FOLDER / "corpus" / target.name
    for place in (seeds, corpus):
        place.mkdir(parents=True, exist_ok=True)
    inputs = list(record.good)
    for number, data in enumerate(inputs):
        (seeds / str(number)).write_bytes(data)
    words: dict[str, list[str]] = {"value": [], "word": [], "blank": [], "sign": [], "odd": ODD}
    for word in sorted({word for data in inputs for word in _PARTS.findall(data[1:].decode("utf-8", "replace"))}):
        words[_kind(word)].append(word)
    arguments = [sys.argv[0], f"-runs={runs}", f"-max_len={LONGEST}", "-timeout=60", "-rss_limit_mb=4000"]
    arguments += ["-mutate_depth=2", f"-artifact_prefix={FOLDER / 'findings'}/{target.name}-", "-verbosity=0"]
    mutator = {"custom_mutator": lambda *given: changed(words, record.good, *given)} if target.text else {}
    atheris.Setup([*arguments, str(corpus), str(seeds)], record.one, **mutator)
    atheris.Fuzz()


def table() -> str:
    """What was counted, as Markdown."""
    rows = ["| target | inputs | taken | inputs/s | slowest |", "|---|---|---|---|---|"]
    total = taken = 0
    for target in TARGETS:
        counts = counts_of(target)
        total, taken = total + counts["runs"], taken + counts["taken"]
        share, speed = counts["taken"] / max(counts["runs"], 1), counts["runs"] / max(counts["seconds"], 0.1)
        rows.append(f"| {target.name} | {counts['runs']:,} | {share:.0%} | {speed:.0f} | {counts['slowest']:.2f} s |")
    return "\n".join([*rows, f"| all | {total:,} | {taken / max(total, 1):.0%} | | |"])


def main() -> int:
    """Run each target in a process of its own; 1 where there are findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="inputs of all targets, earlier ones included")
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="only this one")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    (FOLDER / "findings").mkdir(parents=True, exist_ok=True)
    if options.here:
        fuzz(by_name(options.target), options.runs)
    for target in TARGETS:
        if options.target in (None, target.name):
            wanted = options.runs if options.target else round(options.runs * target.share)
            left = wanted - counts_of(target)["runs"]
            if left > 0:
                command = [sys.executable, "-m", __spec__.name, "--here", "--target", target.name, "--runs", str(left)]
                memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
                with tempfile.TemporaryDirectory(prefix="eri-fuzz-", dir=memory) as files:  # atheris leaves at once
                    subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": files})
    findings = sorted(path.name for path in (FOLDER / "findings").iterdir() if path.suffix != ".txt")
    sys.stdout.write(f"{table()}\n\n{len(findings)} findings in {FOLDER / 'findings'} (mended: {CORPUS})\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
