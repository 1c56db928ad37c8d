"""Rounds over several shards: every shard closes the same round with the same workers, and shard 0 says which.

`RoundPart` is each shard's side: it reports which contributions are complete and carries out what shard 0 decides.
`RoundTable` is shard 0's side: a round closes when every shard holds the contribution of every worker that is
waited for. A strategy that decides by the vectors themselves has its shards measure them first (partial Gram
matrices, p x p numbers) and decides on the sums. Both are pure; reports are snapshots and decisions carry numbers,
so each may be sent twice. A shard that was started anew has lost its contributions: the round is then void, and
everybody goes on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from asgd.algorithms.rounds import Decision, Measures, RoundServer
from asgd.server.shard import Shard
from asgd.wire.messages import Decided, Gathered, Judged, Question


class RoundPart:
    """The side of `shard`, whose strategy works in rounds."""

    def __init__(self, shard: Shard, strategy: RoundServer) -> None:
        self.shard, self.strategy = shard, strategy
        self.decided = 0
        self._primary_term = 0
        self._measured = 0
        self._measures: Measures = {}
        self._told: Gathered | None = None

    def news(self) -> Gathered | None:
        """The report, when it says something that the last one from here did not."""
        report = self.report()
        if report == self._told:
            return None
        self._told = report
        return report

    def report(self) -> Gathered:
        """What this shard holds now."""
        inbox = self.shard.state.inbox
        have = sorted((worker, part.push.sequence) for worker, part in inbox.items() if part.complete)
        measures = {name: array.tolist() for name, array in self._measures.items()}
        through = self.shard.chunks
        gone = sorted(
            (worker, seen.sequence)
            for worker, seen in self.shard.seen.items()
            if seen.chunks >= through and worker not in inbox
        )
        return Gathered(
            self.shard.index, self.shard.term, self._primary_term, self.decided, have, self._measured, measures, gone
        )  # fmt: skip

    @property
    def dimensions(self) -> tuple[int, dict[str, int]]:
        """Number of the newest measurement, and of how many dimensions each of its arrays is."""
        return self._measured, {name: array.ndim for name, array in self._measures.items()}

    def take(self, order: Decided) -> bool:
        """Carries out an order of shard 0; False when it is old."""
        if order.term != self._primary_term:
            self._primary_term, self.decided = order.term, 0
            # NB: measures of another server's round, beside the number of none of this one's, are refused by it.
            self._measured, self._measures = 0, {}
        if order.number <= (self._measured if order.measure else self.decided):
            return False
        state = self.shard.state
        self.shard.recorder.closed(order, state.facts)
        given = [state.inbox[worker] for worker in sorted(order.members) if worker in state.inbox]
        if order.measure:
            for part in given:
                part.settled = True
            # NB: a shard that was started anew holds nothing of the round.
            self._measures = self.strategy.measure(state, given) if given else {}
            self._measured = order.number
            return True
        self.decided = order.number
        if given:
            self.strategy.close(state, given, order.decision)
            state.version += len(given)
            self.shard.average.closed(state.weights)
        late = len(state.inbox) - len(given)
        if late:
            self.shard.refused["late"] += late
        state.inbox.clear()
        return True


class RoundTable:
    """Shard 0's side for `shards` shards; `part` is its own part."""

    def __init__(self, part: RoundPart, shards: int) -> None:
        self.part, self.shards = part, shards
        self.newest: Decided | None = None
        """The order that shards may still have to hear."""
        self._number = 0
        self._members: list[int] | None = None
        """Whose vectors are being measured."""
        self._reports: dict[int, Gathered] = {}
        self.question: Question | None = None
        """What Zeno's oracle is to answer before the round can close."""
        self.oracle_away = False
        """Nobody will answer: rounds close without losses."""
        self._losses: list[float] | None = None
        # What this server gathered before it was started anew is lost, and others still hold theirs.
        self._void = part.shard.term > 1

    def _done(self, report: Gathered, *, measured: bool = False) -> int:
        if report.primary_term != self.part.shard.term:
            return 0
        return report.measured if measured else report.decided

    def hear(self, report: Gathered) -> Decided | None:
        """A shard's report; answers with the newest order when that shard has not carried it out."""
        known = self._reports.get(report.shard)
        if known and known.term != report.term:
            self._void = True
        self._reports[report.shard] = report
        order = self.newest
        if order is None or self._void:
            return None
        return order if self._done(report, measured=order.measure) < order.number else None

    def next(self) -> Decided | None:
        """The next order, carried out here already, if there is one now; send it to all other shards."""
        self.hear(self.part.report())
        if len(self._reports) < self.shards:
            return None
        if self._void:
            self._void = False
            return self._order([])
        if self._members is not None:
            return self._measured()
        return self._gathered() if self._settled() else None

    def _settled(self) -> bool:
        """All have carried out the newest decision: their reports are about the round that is open."""
        return all(self._done(report) >= self._number for report in self._reports.values())

    def _gathered(self) -> Decided | None:
        shard = self.part.shard
        inboxes = [set(report.have) for report in self._reports.values()]
        common = {worker for worker, _ in set.intersection(*inboxes)}
        # NB: a push that one shard holds and another will never hold (refused after a restart, or too late there for
        # the round before) would be waited for without end, and its worker waits for this round.
        gone = {push for report in self._reports.values() for push in report.gone}
        broken = {worker for worker, sequence in set.union(*inboxes) if (worker, sequence) in gone}
        # Who rests for want of data has no clock; what it has begun to give is waited for all the same, or its push
        # would be thrown away on the shards that have it.
        begun = {worker for worker, _ in set.union(*inboxes)} & shard.members.keys()
        # NB: whose push is held by one shard alone waits for this round, and others may wait for him before they give
        # anything to it (a leader that is to send its weights): it closes with what has begun.
        due = begun if broken else {*shard.state.clocks, *begun}
        wanted = {worker for worker in due if not shard.warming(worker)} - broken
        if not wanted <= common or not set.union(*inboxes):
            return None
        members = sorted(common)
        if members and self.part.strategy.measures:
            self._members = members
            return self._order(members, measure=True)
        return self._order(members, decision=self._decide(members, {}))

    def _measured(self) -> Decided | None:
        if any(self._done(report, measured=True) <= self._number for report in self._reports.values()):
            return None
        members = self._members or []
        if self.part.strategy.oracle and self._losses is None:
            self.question = self.question or self._ask(members)
            if not self.oracle_away:
                return None
        parts = [self._reports[index].measures for index in sorted(self._reports)]
        if not all(parts) or any(
            np.shape(part[name]) != np.shape(parts[0][name]) for part in parts[1:] for name in parts[0]
        ):
            # A worker that joined anew took its contribution away from one shard and not from another.
            return self._order([])
        sums = {name: sum(np.array(part[name], np.float64) for part in parts) for name in parts[0]}
        if self._losses is not None:
            sums["losses"] = np.array(self._losses)
        return self._order(members, decision=self._decide(members, sums))

    def _ask(self, members: list[int]) -> Question:
        state = self.part.shard.state
        rate = self.part.strategy.trial(state)
        return Question(self._number + 1, self.part.shard.term, members, rate, state.version)

    def judged(self, answer: Judged) -> Question | None:
        """The oracle speaks; answers with the open question when that is not what it speaks about."""
        question = self.question
        if question is None:
            return None
        if (answer.number, answer.term) != (question.number, question.term):
            return question
        if len(answer.losses) == 1 + len(question.members):
            self._losses = answer.losses
        return None

    def _decide(self, members: list[int], measures: dict[str, Any]) -> Decision:
        state = self.part.shard.state
        pushes = [state.inbox[worker].push for worker in members]
        return self.part.strategy.decide(state, pushes, measures) if members else {}

    def _order(
        self, members: list[int], *, measure: bool = False, decision: Decision | None = None
    ) -> Decided:
        number = self._number + 1
        if not measure:
            self._number, self._members = number, None
            self.question = self._losses = None
        self.newest = Decided(number, self.part.shard.term, members, measure, decision or {})
        self.part.take(self.newest)
        return self.newest
