"""Cuts: the costliest stage as cheap as can be, then little to hand over; held against all cuts that there are."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgd.worker.parallel.cuts import cut_evenly


def all_cuts(layers: int, stages: int, allowed: list[bool]) -> list[list[int]]:
    inner = [layer for layer in range(1, layers) if allowed[layer]]
    return [[0, *starts] for starts in combinations(inner, stages - 1)]


@given(data=st.data(), layers=st.integers(1, 7))
def test_no_other_cut_is_better(data: st.DataObject, layers: int) -> None:
    def figures(strategy: st.SearchStrategy[int]) -> list[int]:
        return data.draw(st.lists(strategy, min_size=layers, max_size=layers))

    costs, crossing = figures(st.integers(0, 4)), figures(st.integers(0, 3))
    allowed = [bool(flag) for flag in figures(st.integers(0, 1))]
    stages = data.draw(st.integers(1, layers))

    def worth(starts: list[int]) -> tuple[int, int]:
        costliest = max(sum(costs[a:b]) for a, b in pairwise([*starts, layers]))
        return costliest, sum(crossing[start] for start in starts[1:])

    ways = all_cuts(layers, stages, allowed)
    if not ways:
        with pytest.raises(ValueError, match=f"cannot be cut into {stages} stages"):
            cut_evenly(costs, crossing, stages, allowed)
        return
    chosen = cut_evenly(costs, crossing, stages, allowed)
    assert chosen in ways
    assert worth(chosen) == min(map(worth, ways))
    assert chosen == cut_evenly(costs, crossing, stages, allowed)


def test_layers_without_cost_go_where_the_least_is_handed_over() -> None:
    """convolution, ReLU, pooling, convolution, linear: what pooling leaves is smallest."""
    assert cut_evenly([3, 0, 0, 3, 0], [9, 16, 16, 4, 9], 2, [True] * 5) == [0, 3]
