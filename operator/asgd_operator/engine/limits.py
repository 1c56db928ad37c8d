"""Two small limits, both told the time by their caller: a token bucket for all keys, and a backoff for each."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TokenBucket:
    """At most `burst` at once and `per_second` for long. `reserve` says how long to wait before going on."""

    per_second: float
    burst: float
    _tokens: float = field(init=False)
    _at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def reserve(self, now: float) -> float:
        """Takes one token, on credit where there is none: those that come later wait longer."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self.per_second)


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
