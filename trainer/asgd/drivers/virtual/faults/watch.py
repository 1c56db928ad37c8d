"""Observers that tell the ledger of what servers do: one beside each start of a shard, and the checkpoint store."""

from __future__ import annotations

from typing import Any

from asgd.drivers.virtual.faults.invariants import History, Ledger, PushName
from asgd.kernel import F32
from asgd.record.recorder import Recorder
from asgd.server.core import ServerCore
from asgd.server.saves.in_process import MemoryStore
from asgd.server.shard import Shard
from asgd.wire.messages import Decided, Exchange, Hello, Pull
from asgd.wire.reports import Part


class WatchedStore(MemoryStore):
    """Tells the ledger which history went into which save, and who wrote it."""

    def __init__(self, ledger: Ledger, seconds: float) -> None:
        super().__init__(seconds)
        self._ledger = ledger
        self._writes: dict[int, int] = {}
        self.taken: dict[tuple[int, int, int], History] = {}
        """What a server of (shard, term) has copied for save number."""

    def check_term(self, shard: int, term: int) -> None:
        self._writes[shard] = term
        super().check_term(shard, term)

    def write_part(
        self, number: int, shard: int, shards: int, arrays: dict[str, F32], meta: dict[str, Any]
    ) -> Part:
        part = super().write_part(number, shard, shards, arrays, meta)
        term = self._writes[shard]
        self._ledger.wrote(shard, term, number, self.taken[shard, term, number])
        return part


class Watch(Recorder):
    """Beside the shard of one start."""

    def __init__(self, shard: Shard, ledger: Ledger, store: WatchedStore, save: int | None) -> None:
        self._shard, self._ledger, self._store = shard, ledger, store
        self._history = ledger.started(shard.index, shard.term, save)
        self._version: int | None = None
        self._held: dict[int, PushName] = {}
        """Each worker's newest contribution to a round."""

    def pushed(self, message: Exchange, payload: Any) -> None:
        shard, name = self._shard, (message.index, message.incarnation, message.sequence)
        self._look()
        verdict = shard.seen[message.index].verdict
        if verdict.startswith("refused"):
            self._ledger.refused(shard.index, name)
        if verdict != "applied":
            return
        whole = message.bare or shard.seen[message.index].chunks >= shard.chunks
        self._ledger.took(shard.index, self._history, name, message.chunk)
        if whole and message.steps > 0 and not shard.strategy.rounds:
            self._ledger.folded(shard.index, shard.term, self._history, name, shard.state.version)
        self._held[message.index] = name
        if message.chunk == 0 and shard.index == 0 and message.steps:
            self._history.visits += message.visits

    def closed(self, order: Decided, facts: dict[str, Any]) -> None:
        inbox = self._shard.state.inbox
        self._look()
        given = [] if order.measure else sorted(set(order.members) & set(inbox))
        shard, version = self._shard, self._shard.state.version + len(given)
        for worker in given:
            if inbox[worker].push.steps:
                self._ledger.folded(shard.index, shard.term, self._history, self._held[worker], version)

    def told(self, worker: int, asked: Exchange | Pull) -> None:
        self._look()

    def joined(self, message: Hello) -> None:
        self._look()
        if message.role == "worker" and message.term <= self._shard.term:
            reached = {term: seen for term, seen, _ in message.past} | {message.term: message.seen}
            last = message.index, message.incarnation, message.sequence
            self._ledger.rejoined(self._shard.index, self._history, last, reached)

    def ended(self, worker: int) -> None:
        self._history.ended.add(worker)

    def saved(self, save: int) -> None:
        self._look()
        self._store.taken[self._shard.index, self._shard.term, save] = self._history.copy()

    def _look(self) -> None:
        version = self._shard.state.version
        if self._version is not None:
            self._ledger.moved(self._shard.index, self._shard.term, self._version, version)
        self._version = version


def watch(ledger: Ledger, store: WatchedStore, core: ServerCore) -> None:
    """Puts an observer beside a fresh core, which then goes on from the newest complete save."""
    core.shard.recorder = Watch(core.shard, ledger, store, max(store.manifests, default=None))
