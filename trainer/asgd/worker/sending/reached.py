"""What a peer has seen of each start of one shard: by it a start that comes later knows what was lost.

And which versions it has pulled of the newest one, which are the bases of what it pushes.
"""

from __future__ import annotations

from asgd.wire.limits import STARTS_MOST


class Reached:
    """Of one shard: `version` and `samples` are the most that its start of `term` has told; see `past`."""

    def __init__(self) -> None:
        self.term = self.version = self.samples = 0
        self.past: list[tuple[int, int, int]] = []
        """(term, version, samples) of earlier starts, oldest first, the newest of them."""
        self.models: list[int] = []
        """Of each model of several: its updates in what was pulled of it."""
        self._parts: dict[int, int] = {}
        """{part: version that its last pull brought}, in this term; the rest came with the last pull of all."""
        self._whole = 0

    def enter(self, term: int) -> bool:
        """The start of `term` has spoken; whether it is a newer one than was known."""
        if term <= self.term:
            return False
        if self.version:
            self.past = [*self.past, (self.term, self.version, self.samples)][-STARTS_MOST:]
        self.term, self.version, self.samples = term, 0, 0
        # NB: what was pulled in parts may belong to a history that the restart has undone.
        self._parts, self._whole = {}, 0
        return True

    def see(self, version: int, samples: int) -> None:
        """The start of `term` has come so far."""
        if version > self.version:
            self.version = version
        if samples > self.samples:
            self.samples = samples

    def pull(self, version: int, part: int, parts: int, models: list[int]) -> None:
        """A pull of part `part` of `parts` has brought `version`; `models`: the updates of each model by then."""
        if parts > 1:
            self._parts[part] = version
        else:
            self._parts, self._whole = {}, version
        if parts > 1 and self.models and models:
            self.models[part] = models[part]
        else:
            self.models = list(models)

    def base(self, part: int) -> int:
        """The version that a push of one part builds on."""
        return self._parts.get(part, self._whole)
