"""Which rows of a list share a batch: `nodes._batches.batches` against what it promises, whatever the list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

Batches = Callable[[list[Any], list[int], int], list[list[int]]]
ROWS = st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(1, 6)), max_size=14)


@pytest.fixture(scope="module")
def batches(comfy_host: Any) -> Batches:
    found: Batches = comfy_host.pack("host.sampling.batches").batches
    return found


@given(rows=ROWS, limit=st.integers(1, 9))
def test_every_row_once_and_never_too_many(batches: Batches, rows: list[tuple[Any, int]], limit: int) -> None:
    keys, sizes = [key for key, _ in rows], [size for _, size in rows]
    made = batches(keys, sizes, limit)
    assert sorted(row for batch in made for row in batch) == list(range(len(rows)))
    assert [batch[0] for batch in made] == sorted(batch[0] for batch in made)
    for batch in made:
        assert batch == sorted(batch)
        assert len(batch) == 1 or sum(sizes[row] for row in batch) <= limit
        assert len(batch) == 1 or (keys[batch[0]] is not None and len({keys[row] for row in batch}) == 1)


@given(keys=st.lists(st.sampled_from("abc"), max_size=30), limit=st.integers(1, 9))
def test_rows_of_one_image_take_as_few_batches_as_there_can_be(batches: Batches, keys: list[Any], limit: int) -> None:
    fewest = sum(-(-keys.count(key) // limit) for key in set(keys))
    assert len(batches(keys, [1] * len(keys), limit)) == fewest


def test_a_row_that_is_too_large_does_not_end_a_batch(batches: Batches) -> None:
    assert batches(["a"] * 4, [1, 9, 2, 2], 4) == [[0, 2], [1], [3]]
