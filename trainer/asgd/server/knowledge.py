"""What a server knows when a message comes, gathered for `admission.refusal`; and whom each connection speaks for."""

from __future__ import annotations

from collections.abc import Hashable

from asgd.server.admission import CLOCKS_APART, CODECS, Known, refusal
from asgd.server.primary import Primary
from asgd.server.round_table import RoundTable
from asgd.server.shard import Shard
from asgd.server.speakers import Speakers
from asgd.spec.types import Job
from asgd.wire.limits import INCARNATION_MOST, WORKERS_MOST
from asgd.wire.messages import AnyMessage, Exchange, Fault, Gathered, Judged, Lease, Pull


class Knowledge:
    """Of the server of `shard`; `primary` and `table` on shard 0 alone. `stores`: there is a checkpoint store."""

    def __init__(self, job: Job, shard: Shard, primary: Primary | None, *, stores: bool) -> None:
        self._name, self._shard, self._primary = job.name, shard, primary
        self.table: RoundTable | None = None
        """Shard 0's, where the strategy works in rounds."""
        self._stores, self._counts = stores, stores and shard.term == 1
        self._speakers = Speakers()
        self.room = 1 << 62
        """Bytes of memory that this process may have."""
        self.started: tuple[int, float] | None = None
        """This process's own incarnation (nanoseconds since 1970) and the time of its start; None: not told."""

    def refusal(self, sender: Hashable, message: AnyMessage, now: float) -> Fault | None:
        """Why a message of `sender` is not served; None when it is to be served, which is remembered of its sender."""
        if isinstance(message, (Exchange, Pull)):
            if self._is_plain(sender, message):
                return None
            return refusal(message, self._known_of_push(sender))
        fault = refusal(message, self._known(sender, message, now))
        if fault is None:
            self._speakers.note(sender, message)
        return fault

    def peer(self, sender: Hashable, message: AnyMessage | None) -> str:
        """Whose a message is, for the count of refusals: a member of the job, or `other`."""
        role, index = self._speakers.get(sender) or (
            getattr(message, "role", "worker"),
            getattr(message, "index", -1),
        )
        worker = role == "worker" and index in self._shard.members
        shard = role == "shard" and 0 < index < self._shard.shards
        return f"{role} {index}" if worker or shard or (role, index) == ("evaluator", 0) else "other"

    def _is_plain(self, sender: Hashable, message: Exchange | Pull) -> bool:
        """Nothing is to be checked of it: most chunks are so, and there are tens of thousands of them a second."""
        index = message.index
        if isinstance(message, Exchange):
            if index not in self._shard.members:
                # NB: of this start, which may know nothing of the job yet: the shard asks it to say hello.
                return True
            told = message.visits or message.meta or message.settings
            if told or message.codec not in CODECS or self._shard.strategy.figures:
                return False
        elif message.role != "worker":
            return False
        return message.answer in CODECS and self._speakers.get(sender) in (None, ("worker", index))

    def _known_of_push(self, sender: Hashable) -> Known:
        """What is needed for a chunk, and no more."""
        shard = self._shard
        return Known(
            self._name, shard.index, shard.shards, self._speakers.get(sender), shard.term, shard.state.dataset,
            self._leased, shard.strategy.figures, rule=shard.rule,
        )  # fmt: skip

    @property
    def _leased(self) -> int | None:
        """NB: an earlier start may have leased more; without a store nobody knows whether there was one."""
        pool = self._primary.coordinator.pool if self._primary and self._counts else None
        return pool.cursor if pool else None

    def _known(self, sender: Hashable, message: AnyMessage, now: float) -> Known:
        shard, primary = self._shard, self._primary
        coordinator = primary.coordinator if primary else None
        rounds = self.table if isinstance(message, Gathered | Judged) else None
        number, dimensions = rounds.part.dimensions if rounds else (0, {})
        question = rounds.question if rounds else None
        workers = coordinator.spec.workers if coordinator else None
        return Known(
            job=self._name,
            shard=shard.index,
            shards=shard.shards,
            speaker=self._speakers.get(sender),
            workers=max(workers.replicas, workers.max_replicas) if workers else WORKERS_MOST,
            newest=self._newest(now),
            room=self.room,
            stores=self._stores,
            term=shard.term,
            version=shard.state.version,
            samples=shard.state.samples,
            size=shard.size,
            layout=shard.layout,
            dataset=shard.state.dataset,
            leased=self._leased,
            figures=shard.strategy.figures,
            members=shard.members,
            requests=coordinator.requests if coordinator and isinstance(message, Lease) else {},
            evaluator=coordinator is None or coordinator.evaluator_heard is not None,
            question=(question.number, question.term, 1 + len(question.members)) if question else None,
            measured=number,
            measures=dimensions,
        )

    def _newest(self, now: float) -> int:
        if self.started is None:
            return INCARNATION_MOST
        incarnation, since = self.started
        return incarnation + int((now - since) * 1e9) + CLOCKS_APART
