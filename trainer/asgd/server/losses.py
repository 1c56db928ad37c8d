"""What restarts of one shard have lost: acknowledged updates, summed up over its starts.

A peer tells how far it has seen each start come. The start that came after it began with an earlier version: what lies
between them was lost. Each start's loss is the largest that anybody tells, so that the same news may come again, from
another peer or after another restart that had forgotten it. Pure.
"""

from __future__ import annotations

from typing import Any

from asgd.algorithms.base import ShardState

Amount = tuple[int, int]
"""(updates, samples)"""

STARTS_KEPT = 64
"""News of starts before so many are not heard any more; what they lost stays counted."""


class Losses:
    """Of one shard."""

    def __init__(self) -> None:
        self._begun: dict[int, Amount] = {}
        """{term: what the start of this term began with}, as far as it is known here"""
        self._lost: dict[int, Amount] = {}
        """{term: what of that start is gone}"""
        self._older: Amount = (0, 0)

    @property
    def updates(self) -> int:
        """Acknowledged updates that are not in the weights any more."""
        return self._older[0] + sum(updates for updates, _ in self._lost.values())

    @property
    def samples(self) -> int:
        """Samples in these."""
        return self._older[1] + sum(samples for _, samples in self._lost.values())

    def began(self, term: int, version: int, samples: int) -> None:
        """The start of `term` goes on from this."""
        self._begun[term] = (version, samples)
        if len(self._begun) > STARTS_KEPT:
            oldest = min(self._begun)
            for before in [before for before in self._lost if before < oldest]:
                self._older = _sum(self._older, self._lost.pop(before))
            del self._begun[oldest]

    def told(self, term: int, version: int, samples: int) -> None:
        """Somebody has seen the start of `term` come so far."""
        later = [start for start in self._begun if start > term]
        if not later or (len(self._begun) == STARTS_KEPT and term < min(self._begun)):
            return
        begun, known = self._begun[min(later)], self._lost.get(term, (0, 0))
        lost = max(known[0], version - begun[0]), max(known[1], samples - begun[1])
        if any(lost):
            self._lost[term] = lost

    def ended(self, state: ShardState, samples: int) -> None:
        """A push of so many samples has ended, that may have moved nothing."""
        if state.missed:
            state.missed, self._older = 0, _sum(self._older, (1, samples))

    def state(self) -> dict[str, Any]:
        """What a save keeps."""
        return {
            "begun": [[term, *amount] for term, amount in self._begun.items()],
            "lost": [[term, *amount] for term, amount in self._lost.items()],
            "older": list(self._older),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over what `state` returned."""
        self._begun = {term: (updates, samples) for term, updates, samples in state["begun"]}
        self._lost = {term: (updates, samples) for term, updates, samples in state["lost"]}
        self._older = (state["older"][0], state["older"][1])


def _sum(one: Amount, other: Amount) -> Amount:
    return one[0] + other[0], one[1] + other[1]
