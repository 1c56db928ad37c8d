"""What a peer has seen of each start of one shard: by it a start that comes later knows what was lost."""

from __future__ import annotations

from asgd.wire.limits import STARTS_MOST


class Reached:
    """Of one shard: `version` and `samples` are the most that its start of `term` has told; see `past`."""

    def __init__(self) -> None:
        self.term = self.version = self.samples = 0
        self.past: list[tuple[int, int, int]] = []
        """(term, version, samples) of earlier starts, oldest first, the newest of them."""

    def enter(self, term: int) -> bool:
        """The start of `term` has spoken; whether it is a newer one than was known."""
        if term <= self.term:
            return False
        if self.version:
            self.past = [*self.past, (self.term, self.version, self.samples)][-STARTS_MOST:]
        self.term, self.version, self.samples = term, 0, 0
        return True

    def see(self, version: int, samples: int) -> None:
        """The start of `term` has come so far."""
        self.version, self.samples = max(self.version, version), max(self.samples, samples)
