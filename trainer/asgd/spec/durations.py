"""How long something took, many times over, in a handful of numbers: counts in ten buckets a decade.

Small enough to go along with every heartbeat and to stand in history.jsonl, fine enough to simulate from: a bucket is
26 % wide, and the exact sum is kept beside the counts. Pure; a thread may read while another adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct

PER_DECADE = 10
_LOWEST_EXPONENT = -6
_BUCKETS = 10 * PER_DECADE


class Spread(Struct, frozen=True):
    """Durations as they are told: {bucket: count} and their sum in seconds."""

    counts: dict[int, int] = {}
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """How many durations there are."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Seconds; 0 without any."""
        return self.seconds / self.total if self.counts else 0.0

    def quantile(self, q: float) -> float:
        """The middle of the bucket in which the q-th part of all is reached, in seconds; 0 without any."""
        least, seen = q * self.total, 0
        for bucket, count in sorted(self.counts.items()):
            seen += count
            if seen >= least:
                return middle(bucket)
        return 0.0


def middle(bucket: int) -> float:
    """Seconds in the (geometric) middle of a bucket."""
    return float(10 ** (_LOWEST_EXPONENT + (bucket + 0.5) / PER_DECADE))


def merged(spreads: Iterable[Spread]) -> Spread:
    """All durations together."""
    counts: dict[int, int] = {}
    seconds = 0.0
    for spread in spreads:
        seconds += spread.seconds
        for bucket, count in spread.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
    return Spread(counts, seconds)


class Durations:
    """Counts durations as they happen."""

    def __init__(self) -> None:
        # NB: of a fixed length, so that the heartbeat's thread never sees it change its size.
        self._counts = [0] * _BUCKETS
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """One more; outside of a microsecond to 10,000 seconds it counts as the nearest of these."""
        exponent = math.log10(seconds) - _LOWEST_EXPONENT if seconds > 0 else 0.0
        self._counts[min(max(int(exponent * PER_DECADE), 0), _BUCKETS - 1)] += 1
        self._seconds += seconds

    def told(self) -> Spread:
        """What has been counted so far."""
        return Spread({bucket: count for bucket, count in enumerate(self._counts) if count}, self._seconds)
