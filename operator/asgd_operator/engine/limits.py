"""Two small limits, both told the time by their caller: a token bucket for many, and a backoff for each key."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TokenBucket:
    """At most `burst` at once, and one at least, and `per_second` for long. Who finds a token `take`s it, others come
    back later.
    """

    per_second: float
    burst: float
    _tokens: float = field(init=False)
    _at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.burst = max(1.0, self.burst)
        self._tokens = self.burst

    def tokens(self, now: float) -> int:
        """How many can be taken now."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        # NB: a token that is there but for a rounding error is there, or somebody would wait for no time, again and
        # again.
        return int(self._tokens + 1e-6)

    def ready_in(self, now: float) -> float:
        """Seconds until there is one; 0 when there is."""
        return 0.0 if self.tokens(now) else (1 - self._tokens) / self.per_second

    def take(self, now: float) -> None:
        """Call it only where there is one."""
        self.tokens(now)
        self._tokens = max(0.0, self._tokens - 1)


@dataclass
class Backoff:
    """Doubles with each failure of a key, from `first` to `longest` seconds; a success forgets them."""

    first: float
    longest: float
    _failures: dict[str, int] = field(default_factory=dict)

    def failed(self, key: str) -> float:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        return min(self.longest, self.first * 2.0 ** min(count, 30))

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        return self._failures.get(key, 0)
