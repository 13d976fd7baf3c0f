"""What the scheduler of several workers costs, and how well it fills simulated ones.

    python benchmarks/many_workers.py [--json]

The first table is processor time: making the scheduler, then giving out and ending every picture. The second table is a
simulation, with no ComfyUI: 8 prompts at so many training steps, on so many workers. Loading the base model counts as
much as 6 pictures, encoding the prompts as 1, reading a checkpoint as 0.25, as on a 24 GB card with Flux.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from collections.abc import Iterable

from comfyui_eridiffusion.compare.scheduler import Cell, Scheduler

PROMPTS = 8
#: What loading each level of needs costs, in pictures: base model, prompts, checkpoint.
COSTS = (6.0, 1.0, 0.25)


def sweep(steps: int) -> list[Cell]:
    return [Cell((step, item), ("base", "prompts", step)) for step in range(steps) for item in range(PROMPTS)]


def simulated(cells: Iterable[Cell], workers: int) -> float:
    """How long the workers need, in pictures."""
    scheduler = Scheduler(cells)
    free = [(0.0, worker) for worker in range(workers)]
    for _, worker in free:
        scheduler.join(worker)
    end = 0.0
    while free:
        now, worker = heapq.heappop(free)
        before = list(scheduler.loads)
        names = scheduler.take(worker)
        if not names:
            end = max(end, now)
            continue
        fresh = [after - earlier for after, earlier in zip(scheduler.loads, before, strict=True)]
        work = sum(cost * count for cost, count in zip(COSTS, fresh, strict=True)) + len(names)
        scheduler.done(worker, names)
        heapq.heappush(free, (now + work, worker))
    return end


def cost(pictures: int, workers: int = 8) -> float:
    """Processor time for each picture, in microseconds."""
    cells = sweep(pictures // PROMPTS)
    start = time.process_time()
    simulated(cells, workers)
    return 1e6 * (time.process_time() - start) / len(cells)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    costs = {pictures: min(cost(pictures) for _ in range(3)) for pictures in (1_000, 10_000, 100_000)}
    speed = {
        steps: {workers: simulated(sweep(steps), 1) / simulated(sweep(steps), workers) for workers in (2, 4, 8, 16)}
        for steps in (4, 8, 20, 60)
    }
    if as_json:
        print(json.dumps({"microseconds a picture": costs, "times one worker": speed}))
        return 0
    print("| pictures | µs a picture |\n|---|---|")
    print(*(f"| {pictures} | {value:.1f} |" for pictures, value in costs.items()), sep="\n")
    print("\n| steps × 8 prompts | 2 workers | 4 | 8 | 16 |\n|---|---|---|---|---|")
    for steps, row in speed.items():
        print(f"| {steps} |", " | ".join(f"{value:.1f}" for value in row.values()), "|")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
