"""Where to cut a chain of layers: the costliest stage as cheap as can be, then as little to hand over as can be.

Pure numbers, no torch. The same costs give the same cuts, so every worker of a job cuts alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

_NEVER = float("inf")
_NONE: tuple[float, list[int]] = (_NEVER, [])


def cut_evenly(
    costs: Sequence[float], crossing: Sequence[float], stages: int, allowed: Sequence[bool]
) -> list[int]:
    """Starts of the stages: [0, ...], ascending, one a stage.

    costs: one a layer. crossing: what is handed over when a stage starts at layer i; allowed: whether one may (both
    one a layer; the first counts for nothing). Among cuts whose costliest stage is cheapest, those with the least sum
    of `crossing`, then the earliest. Raises ValueError when fewer than `stages` stages are possible.
    """
    sums = [0.0, *accumulate(costs)]

    def span(start: int, stop: int) -> float:
        return sums[stop] - sums[start]

    limit, _ = _best(len(costs), stages, allowed, span, max)
    if limit == _NEVER:
        raise ValueError(f"{len(costs)} layers cannot be cut into {stages} stages")

    def handed(start: int, stop: int) -> float:
        if span(start, stop) > limit:
            return _NEVER
        return crossing[start] if start else 0.0

    return _best(len(costs), stages, allowed, handed, lambda before, last: before + last)[1]


def _best(
    layers: int, stages: int, allowed: Sequence[bool],
    price: Callable[[int, int], float], join: Callable[[float, float], float],
) -> tuple[float, list[int]]:  # fmt: skip
    """The cheapest way and its starts, by dynamic programming over (stages so far, layers so far)."""
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for _ in range(stages):
        longer: dict[int, tuple[float, list[int]]] = {}
        for start, (before, starts) in best.items():
            if start == layers or (start and not allowed[start]):
                continue
            for stop in range(start + 1, layers + 1):
                whole = join(before, price(start, stop))
                if whole < longer.get(stop, _NONE)[0]:
                    longer[stop] = (whole, [*starts, start])
        best = dict(sorted(longer.items()))
    return best.get(layers, _NONE)
