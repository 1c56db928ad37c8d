"""Counters of a server that are no part of its state: bytes, requests and their durations, saves, refused messages."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Container

SECONDS_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

LABELS_MOST = 1000
"""Pairs of peer and reason that are counted apart: each is a time series in Prometheus."""


class Traffic:
    """Fed by the core and its driver; read when metrics are scraped."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.counts = {op: [0] * (len(SECONDS_BUCKETS) + 1) for op in ("push", "pull")}
        self.seconds = {"push": 0.0, "pull": 0.0}
        self.checkpoints: Counter[str] = Counter()
        self.checkpoint_seconds = 0.0
        self.checkpoint_bytes = 0
        self.checkpoint_time = 0.0
        self.store_seconds = 0.0
        """How long the checkpoint store has been at work on what it was asked; 0 while it has nothing to do."""
        self.held_back = 0
        """Pulls that wait here for other workers."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """{(peer, reason): messages} that were not served."""

    def refuse(self, peer: str, reason: str) -> None:
        """A message of `peer` was not served; beyond `LABELS_MOST` pairs peers are not told apart any more."""
        known = (peer, reason) in self.refused or len(self.refused) < LABELS_MOST
        self.refused[peer if known else "other", reason] += 1

    def only(self, workers: Container[int]) -> None:
        """Counts of workers that are none of `workers` go to `other`: series of those that have left must end."""
        for peer, reason in [pair for pair in self.refused if pair[0].startswith("worker ")]:
            if int(peer.removeprefix("worker ")) not in workers:
                self.refused["other", reason] += self.refused.pop((peer, reason))

    @property
    def refused_by_reason(self) -> dict[str, int]:
        """{reason: messages} that were not served."""
        found: Counter[str] = Counter()
        for (_, reason), count in list(self.refused.items()):
            found[reason] += count
        return dict(found)

    def served(self, op: str, seconds: float) -> None:
        """One request of kind `op` took `seconds`."""
        self.counts[op][bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.seconds[op] += seconds
