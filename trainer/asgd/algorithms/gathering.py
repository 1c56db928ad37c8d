"""Whole pushes on a server: their chunks are kept until the last one has come, and where shards may cut no tensor.

Rounds keep contributions so, and rules that look at whole tensors (`Optimizer.whole`) the push that they step by.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from asgd.algorithms.base import Contribution, Push, ShardState
from asgd.algorithms.registry import halves
from asgd.kernel import F32
from asgd.spec.types import JobSpec


def gather(state: ShardState, span: slice, push: Push, vector: F32) -> None:
    """One chunk, the elements `span` of the shard, goes into the worker's contribution."""
    first = state.weights.size * push.part // push.parts
    if not push.applied:
        size = state.weights.size * (push.part + 1) // push.parts - first
        state.inbox[push.worker] = Contribution(push, np.empty(size, np.float32))
    part = state.inbox.get(push.worker)
    # NB: after a restart in the middle of a push its first chunks are gone, and so it never counts.
    if part and part.push.sequence == push.sequence:
        part.vector[span.start - first : span.stop - first] = vector


def gathered(state: ShardState, push: Push) -> F32 | None:
    """The vector of a push whose last chunk has come, which is kept no more; None where it has none.

    One whose first chunks are gone is missed.
    """
    part = state.inbox.pop(push.worker, None)
    if part and part.push.sequence == push.sequence:
        return part.vector
    state.missed = int(state.weights.size > 0 and not push.bare)
    return None


def shard_cuts(
    spec: JobSpec, tensors: Iterable[tuple[str, Sequence[int]]], shards: int, size: int = 0
) -> tuple[int, ...]:
    """Where the shards of the job begin, and the last one ends, if they may cut no tensor; () where they are equal.

    `tensors`: (name, shape) in flat order, a vector of `size` elements is one where they are not known. Each cut is at
    the border nearest to where an equal one would be; a shard may be left with nothing.
    """
    if shards == 1 or not halves(spec).server().whole:
        return ()
    borders = list(accumulate((math.prod(shape) for _, shape in tensors), initial=0))
    borders = borders if borders[-1] else [0, size]
    cuts = [0]
    for shard in range(1, shards):
        wanted = borders[-1] * shard // shards
        after = min(bisect_right(borders, wanted), len(borders) - 1)
        cuts.append(min(borders[after - 1 : after + 1], key=lambda border: abs(border - wanted)))
    return (*cuts, borders[-1])
