"""Who makes which picture: each ends once whatever happens to workers, little is loaded twice, nobody idles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_eridiffusion.compare.scheduler import MOST_LOSSES, Cell, End, Scheduler
from comfyui_eridiffusion.tests.counting import calls


def grid(variants: int, steps: int, items: int) -> list[Cell]:
    """Every picture of a sweep, in the order of its prompts, which is not that of what must be loaded."""
    every = product(range(items), range(steps), range(variants))
    return [Cell((variant, step, item), ("base", variant, step)) for item, step, variant in every]


def simulate(scheduler: Scheduler, workers: int, costs: tuple[int, ...] = (0, 0, 0), cell: int = 1) -> Counter[int]:
    """When each worker ends, where loading each level of needs takes so long, and a cell so long."""
    times: Counter[int] = Counter(dict.fromkeys(range(workers), 0))
    loaded: dict[int, tuple[Hashable, ...]] = dict.fromkeys(range(workers), ())
    for worker in times:
        scheduler.join(worker)
    while not scheduler.finished:
        worker = min(times, key=lambda one: (times[one], one))
        names = scheduler.take(worker)
        if not names:
            del times[worker]
            continue
        (variant, step, _) = names[0]  # type: ignore[misc]
        needs = ("base", variant, step)
        fresh = [new for new, old in zip(needs, loaded[worker] or (None,) * 3, strict=True) if new != old]
        times[worker] += sum(costs[-len(fresh) :] if fresh else ()) + cell * len(names)
        loaded[worker] = needs
        scheduler.done(worker, names)
    return times


def test_one_worker_loads_everything_once() -> None:
    scheduler = Scheduler(grid(variants=3, steps=4, items=5))
    scheduler.join("only")
    taken = []
    while names := scheduler.take("only"):
        assert len({name[:2] for name in names}) == 1  # type: ignore[index]
        taken.append(len(names))
        scheduler.done("only", names)
    assert (taken, scheduler.loads) == ([5] * 12, [1, 3, 12])
    assert scheduler.finished


@pytest.mark.parametrize(("workers", "steps"), [(2, 2), (3, 7), (8, 60), (8, 6), (8, 3)])
def test_workers_end_together_and_load_little(workers: int, steps: int) -> None:
    """Pictures alone: nobody waits longer than one takes; each reads its own checkpoints, and few are read twice."""
    scheduler = Scheduler(grid(variants=1, steps=steps, items=8))
    ends = simulate(scheduler, workers)
    assert max(ends.values()) - -(-steps * 8 // workers) <= 1
    assert scheduler.loads[0] <= workers
    assert scheduler.loads[2] <= steps + 2 * workers


def test_each_keeps_its_variant() -> None:
    scheduler = Scheduler(grid(variants=4, steps=10, items=2))
    simulate(scheduler, 4)
    assert scheduler.loads[:2] == [4, 4]


def test_lost_worker_and_its_late_answers() -> None:
    scheduler = Scheduler(grid(variants=1, steps=2, items=4))
    scheduler.join("a")
    scheduler.join("b")
    first, second = scheduler.take("a"), scheduler.take("b")
    assert scheduler.done("a", first[:1]) == first[:1]
    assert scheduler.lost("a") == []
    assert scheduler.done("a", first[1:]) == []
    assert scheduler.done("b", first[1:]) == []  # not its own
    assert scheduler.done("b", second) == second
    made = list(second)
    while names := scheduler.take("b"):
        made += scheduler.done("b", names)
    assert sorted([*first[:1], *made]) == sorted(cell.name for cell in grid(1, 2, 4))  # type: ignore[type-var]
    assert scheduler.finished
    assert scheduler.lost("a") == []


def test_cells_that_fail_or_kill_are_named_and_the_rest_goes_on() -> None:
    scheduler = Scheduler([Cell("bad", ("bad",)), Cell("killer", ("killer",)), Cell("good", ("good",))])
    scheduler.join(0)
    assert scheduler.failed(0, scheduler.take(0)) == ["bad"]
    for worker in range(MOST_LOSSES):
        assert scheduler.take(worker) == ["killer"]
        scheduler.join(worker + 1)
        assert scheduler.lost(worker) == ["killer"] * (worker == MOST_LOSSES - 1)
    assert scheduler.take(MOST_LOSSES) == ["good"]
    scheduler.done(MOST_LOSSES, ["good"])
    assert scheduler.finished
    assert [scheduler.ended(how) for how in End] == [["good"], ["bad"], ["killer"]]


@given(st.data())
def test_every_cell_ends_once_whatever_is_lost(data: st.DataObject) -> None:
    cells = grid(*(data.draw(st.integers(1, 4)) for _ in range(3)))
    scheduler = Scheduler(cells)
    at_work: dict[int, list[Hashable]] = {}
    gone: dict[int, list[Hashable]] = {}
    ends: Counter[Hashable] = Counter()
    fresh = iter(range(1000))
    while not scheduler.finished:
        if not at_work or data.draw(st.integers(0, 9)) == 0:
            at_work[new := next(fresh)] = []
            scheduler.join(new)
        worker = data.draw(st.sampled_from(sorted(at_work)))
        deed = data.draw(st.sampled_from(("go on", "go on", "go on", "part", "fail", "lost", "late")))
        names = at_work[worker]
        if deed == "lost":
            ends.update(scheduler.lost(worker))
            gone[worker] = at_work.pop(worker)
        elif deed == "late" and gone:
            late = data.draw(st.sampled_from(sorted(gone)))
            assert scheduler.done(late, gone[late]) == []
        elif not names:
            at_work[worker] = scheduler.take(worker)
        elif deed == "part":
            ends.update(scheduler.done(worker, names[:1]))
            at_work[worker] = names[1:]
        else:
            ends.update((scheduler.failed if deed == "fail" else scheduler.done)(worker, names))
            at_work[worker] = []
    assert ends == Counter(cell.name for cell in cells)
    assert sum(len(scheduler.ended(how)) for how in End) == len(cells)
    assert not scheduler.unfinished()


def test_work_grows_with_the_cells_only() -> None:
    """Functions called for a cell, with ten times the cells."""
    counts = [calls(lambda steps=steps: simulate(Scheduler(grid(2, steps, 5)), 8)) / steps for steps in (40, 400)]
    assert counts[1] <= 1.1 * counts[0]
