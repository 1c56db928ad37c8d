"""A cost model of the update path: bytes, CPU-seconds and shards for a given model, fleet and network. Pure arithmetic.

The price of an update on the servers is a + b x bytes: `a` for each round trip, `b` for copying through sockets,
decoding and adding. Both are fitted to the bench's own figures (`fit`); `docs/scaling.md` is made from them. Left out:
contention for memory bandwidth between shards on one machine, and what staleness costs in accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SERVER_BASE_BYTES = 70 << 20
CONNECTION_BYTES = 8 << 20
USABLE = 0.7
"""Share of a core or a link that is planned for: queues grow without bound towards 1."""

BYTES_PER_PARAMETER = {
    "fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0 + 4 / 256, "onebit": 1 / 8 + 8 / 256, "topk": 0.01 * 4,
}  # fmt: skip
"""Payload of one parameter: int8 and onebit with one or two fp32 scales a block of 256, top-k 1 % of 16+16 bits."""


@dataclass(frozen=True, slots=True)
class Price:
    """CPU-seconds of one push and pull: `each` plus `per_byte` for every payload byte of both directions."""

    each: float
    per_byte: float

    def of(self, payload: float) -> float:
        """CPU-seconds of an update that moves `payload` bytes."""
        return self.each + self.per_byte * payload


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who trains what: `step_seconds` is a worker's own time for a gradient, `link` bytes/s each way of a machine."""

    parameters: int
    workers: int
    step_seconds: float
    link: float = 1.25e9
    push: str = "fp32"
    pull: str = "fp32"
    optimizer_arrays: int = 0


@dataclass(frozen=True, slots=True)
class Need:
    """What a fleet needs. `bound` says what decides: nothing (one shard has room), cpu, link, message, worker."""

    updates_per_second: float
    bytes_each: float
    shards: int
    bound: str
    server_bytes: float
    """Memory of one shard."""
    staleness: float
    """Mean, in updates: everyone else pushes once while a worker computes."""
    worker_share: float
    """Of a worker's time that is left for computing when its exchange does not overlap with it."""


def payload(parameters: int, push: str, pull: str) -> tuple[float, float]:
    """Bytes of one update, (pushed, pulled). Raises KeyError on an unknown codec."""
    return parameters * BYTES_PER_PARAMETER[push], parameters * BYTES_PER_PARAMETER[pull]


def server_bytes(parameters: int, arrays: int, workers: int) -> float:
    """Memory of a shard: weights, `arrays` more of their size, a base, and buffers of each connection."""
    return SERVER_BASE_BYTES + 4.0 * parameters * (1 + arrays) + CONNECTION_BYTES * workers


def fit(points: Sequence[tuple[float, float]]) -> Price:
    """The price through (bytes of an update, CPU-seconds of it): least squares of relative errors, nothing negative.

    Raises ValueError on fewer than two different sizes.
    """
    if len({size for size, _ in points}) < 2:
        raise ValueError("a price needs updates of at least two sizes")
    # Weighted by 1/cost**2, so that small updates count as much as large ones.
    weights = [1 / cost**2 for _, cost in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    over = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    under = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = max(0.0, over / under)
    return Price(max(0.0, mean_y - slope * mean_x), slope)


def need(fleet: Fleet, server: Price) -> Need:
    """Shards (one core and one link each) that carry `fleet`, and what is the narrowest place.

    More shards divide the bytes but not the messages: every worker talks to every shard in each update, so that
    1 / server.each updates/s is a ceiling that no number of shards lifts (bound "message", shards 0).
    """
    pushed, pulled = payload(fleet.parameters, fleet.push, fleet.pull)
    transfer = max(pushed, pulled) / fleet.link
    share = fleet.step_seconds / (fleet.step_seconds + transfer) if fleet.step_seconds + transfer else 0.0
    rate = fleet.workers / (fleet.step_seconds + transfer) if fleet.step_seconds + transfer else math.inf
    room = USABLE / rate - server.each
    by_cpu = server.per_byte * (pushed + pulled) / room if room > 0 else math.inf
    by_link = rate * max(pushed, pulled) / (USABLE * fleet.link)
    shards = max(1, math.ceil(max(by_cpu, by_link))) if room > 0 else 0
    if room <= 0:
        bound = "message"
    elif share < 0.5:
        bound = "worker"
    elif shards == 1:
        bound = "nothing"
    else:
        bound = "cpu" if by_cpu >= by_link else "link"
    part = fleet.parameters / max(1, shards)
    return Need(
        updates_per_second=rate,
        bytes_each=pushed + pulled,
        shards=shards,
        bound=bound,
        server_bytes=server_bytes(math.ceil(part), fleet.optimizer_arrays, fleet.workers),
        staleness=fleet.workers - 1,
        worker_share=share,
    )


def largest_rate(staleness: float) -> float:
    """The largest stable learning rate x curvature of delayed gradient descent: 2 sin(pi / (2 (2 tau + 1))).

    For w(t+1) = w(t) - eta h w(t - tau) on a quadratic with curvature h (algorithms.md 2e); falls as pi / (2 tau).
    """
    return 2 * math.sin(math.pi / (2 * (2 * staleness + 1)))
