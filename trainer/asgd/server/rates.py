"""Throughput over the last seconds: a sliding window of one-second buckets, cheap to feed on every push."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 5.0
_BUCKET_SECONDS = 0.25


class Rates:
    """Updates and samples a second over the last `WINDOW_SECONDS`."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[float, int, int]] = deque()
        self._first: float | None = None

    def add(self, now: float, samples: int) -> None:
        """One update of `samples` samples at `now` (seconds)."""
        self._first = now if self._first is None else self._first
        if self._buckets and now - self._buckets[-1][0] < _BUCKET_SECONDS:
            start, updates, total = self._buckets[-1]
            self._buckets[-1] = (start, updates + 1, total + samples)
        else:
            self._buckets.append((now, 1, samples))

    def _over(self, now: float) -> tuple[int, int, float]:
        while self._buckets and now - self._buckets[0][0] > WINDOW_SECONDS:
            self._buckets.popleft()
        span = min(WINDOW_SECONDS, now - self._first) if self._first is not None else 0.0
        updates = sum(bucket[1] for bucket in self._buckets)
        samples = sum(bucket[2] for bucket in self._buckets)
        return updates, samples, max(span, _BUCKET_SECONDS)

    def updates_per_second(self, now: float) -> float:
        """Updates a second, over the window or since the first update."""
        updates, _, span = self._over(now)
        return updates / span

    def samples_per_second(self, now: float) -> float:
        """Samples a second, over the window or since the first update."""
        _, samples, span = self._over(now)
        return samples / span
