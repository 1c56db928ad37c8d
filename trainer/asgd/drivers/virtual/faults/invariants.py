"""What must hold whatever goes wrong. A ledger beside the servers, told of what they do, that never asks them why.

Pure. A shard's history is what has happened to the weights that it holds now: a server that starts again goes on from
the history of the save that it has read, and what came after that save never happened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from asgd.server.pool import Span

PushName = tuple[int, int, int]
"""(worker, incarnation, sequence)."""


@dataclass(slots=True)
class History:
    """Of one shard."""

    chunks: set[tuple[PushName, int]] = field(default_factory=set)
    """What was taken in."""
    pushes: set[PushName] = field(default_factory=set)
    """What is in the weights."""
    visits: list[Span] = field(default_factory=list)
    """Of accepted pushes, as shard 0 heard of them."""
    owed: set[PushName] = field(default_factory=set)
    """Pushes of which a worker has told this shard, or one before it, that it knows them in the weights.

    NB: what a worker has told is forgotten with a server that could not save it, and told again by the worker; not by
    one that has died meanwhile.
    """
    ended: set[int] = field(default_factory=set)
    """Workers whose own loops have ended, as shard 0 heard of them."""

    def copy(self) -> History:
        return History(set(self.chunks), set(self.pushes), list(self.visits), set(self.owed), set(self.ended))


class Broken(Exception):
    """An invariant does not hold; the text says which."""


class Ledger:
    """Of all shards. Every method raises Broken as soon as something is wrong."""

    def __init__(self) -> None:
        self.overstepped = ""
        """A writing that must not be, in a sentence."""
        self.histories: dict[int, History] = {}
        """Of the newest start of each shard."""
        self.rolled_back: set[int] = set()
        """Shards that have gone back to a save, or to nothing, with something lost."""
        self._saved: dict[tuple[int, int], History] = {}
        self._ever: dict[tuple[int, PushName], dict[int, int]] = {}
        """{(shard, push): {term: the version that had it in the weights}}"""
        self._terms: dict[int, int] = {}

    # -- what servers do ---------------------------------------------------------------------------

    def started(self, shard: int, term: int, save: int | None) -> History:
        """A server goes on from save number `save`, or from nothing."""
        if term <= self._terms.get(shard, 0):
            raise Broken(f"terms grow: shard {shard} of term {term} began after term {self._terms[shard]}")
        self._terms[shard] = term
        history = History() if save is None else self._saved[shard, save].copy()
        before = self.histories.get(shard)
        if before and before.chunks - history.chunks:
            self.rolled_back.add(shard)
        self.histories[shard] = history
        return history

    def took(self, shard: int, history: History, push: PushName, chunk: int) -> None:
        """A chunk of a push was applied."""
        if (push, chunk) in history.chunks:
            raise Broken(
                f"no push is applied twice: shard {shard} has taken chunk {chunk} of {_named(push)} again"
            )
        history.chunks.add((push, chunk))
        if history is not self.histories[shard]:
            # By a server that was replaced and does not know it yet: nobody will ever see that.
            self.rolled_back.add(shard)

    def folded(self, shard: int, term: int, history: History, push: PushName, version: int) -> None:
        """A push is in the weights of `version`."""
        if push in history.pushes:
            raise Broken(f"no push is applied twice: {_named(push)} is twice in the weights of shard {shard}")
        history.pushes.add(push)
        self._ever.setdefault((shard, push), {})[term] = version

    def refused(self, shard: int, push: PushName) -> None:
        """NB: an earlier start may have taken it; its worker never heard of that, and hears that it was refused."""
        self._ever.pop((shard, push), None)

    def moved(self, shard: int, term: int, before: int, after: int) -> None:
        """A server's version was `before` and is `after`."""
        if after < before:
            raise Broken(
                f"versions never go back within a term: shard {shard}, term {term}, from {before} to {after}"
            )

    def wrote(self, shard: int, term: int, number: int, history: History) -> None:
        """A server's part of save `number` is in the store."""
        newest = self._terms.get(shard, 0)
        if term < newest:
            # NB: what a store raises costs a save and goes no further, so it is not raised here.
            self.overstepped = (
                f"who was replaced writes nothing: shard {shard} of term {term} has written save {number} after term"
                f" {newest} began"
            )
        self._saved[shard, number] = history

    def rejoined(self, shard: int, history: History, last: PushName, reached: dict[int, int]) -> None:
        """A worker tells the next server of a shard its last acknowledged push, and {term: version that it has seen}.

        NB: a contribution is acknowledged before its round closes; that it is in the weights, a later version tells.
        """
        for (where, push), terms in self._ever.items():
            theirs = where == shard and push[:2] == last[:2] and push[2] <= last[2]
            if theirs and any(version <= reached.get(term, -1) for term, version in terms.items()):
                history.owed.add(push)

    # -- at the end --------------------------------------------------------------------------------

    def check_lost(self, shard: int, lost: int) -> None:
        """Acknowledged pushes are in the weights, or counted by the shard as lost."""
        missing = self.histories[shard].owed - self.histories[shard].pushes
        if len(missing) > lost:
            raise Broken(
                f"acknowledged pushes are in the weights or in lostUpdates: shard {shard} counts {lost} as lost,"
                f" but {len(missing)} are not there, as {_named(min(missing))}"
            )

    def check_visits(self, size: int, limit: int, visited: int, revisited: int) -> None:
        """Every sample was visited once an epoch, or its repetitions are counted."""
        times = Counter(
            (epoch, place) for epoch, start, stop in self.histories[0].visits for place in range(start, stop)
        )
        if len(times) < limit:
            epoch, place = next(
                (n // size, n % size) for n in range(limit) if (n // size, n % size) not in times
            )
            raise Broken(
                f"every sample is visited once an epoch: position {place} of epoch {epoch} never was,"
                f" {len(times)} of {limit} were"
            )
        again = sum(times.values()) - len(times)
        exactly = (visited, revisited) == (len(times), again)
        if again > revisited or not (exactly or self.rolled_back):
            raise Broken(
                f"every sample is visited once an epoch or counted as revisited: {len(times)} were visited and {again}"
                f" again, the job counts {visited} and {revisited}"
            )


def _named(push: PushName) -> str:
    worker, incarnation, sequence = push
    return f"push {sequence} of worker {worker} ({incarnation}. start)"
