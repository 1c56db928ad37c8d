"""A worker's recorder: what reached this worker from outside, in the order in which its own code asked for it.

Its two halves may be written from two threads (`exchange.ahead`), and are replayed as two queues: what the training
loop asked (leases, whether a batch is still ours, whether to leave), and what the exchange brought.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asgd.kernel import F32
from asgd.record.format import Bringing, Dropped, Head, Heard, Leased, Leaving, Log, Welcomed
from asgd.wire.messages import Granted

if TYPE_CHECKING:
    from asgd.worker.reading.leased import Leasing

Visits = Sequence[tuple[int, int, int]]
Bring = Callable[[], F32]


class WorkerRecorder:
    """Records nothing."""

    records = False

    def bringing(self, shard: int, bring: Bring | None) -> Bring | None:
        """`bring`, and that it was asked for."""
        return bring

    def welcomed(self, stop: str) -> None:
        """The worker has joined all shards."""

    def heard(self, shards: list[tuple[str, list[int]]]) -> None:
        """An exchange is through: by shard why the job is over, if it is, and which answers were taken."""

    def leases(self, leases: Leasing) -> Leasing:
        """`leases`, and what they answer."""
        return leases

    def leaving(self, leaving: Callable[[], bool]) -> Callable[[], bool]:
        """`leaving`, and when it first says yes."""
        return leaving


class WorkerLog(WorkerRecorder):
    """Appends to `folder`/worker-INDEX-INCARNATION.log."""

    records = True

    def __init__(self, folder: Path, index: int, incarnation: int) -> None:
        self._log = Log(folder / f"worker-{index}-{incarnation}.log", Head("worker", index, incarnation))

    def bringing(self, shard: int, bring: Bring | None) -> Bring | None:
        if bring is None:
            return None

        def noted() -> F32:
            self._log.add(Bringing(shard))
            return bring()

        return noted

    def welcomed(self, stop: str) -> None:
        self._log.add(Welcomed(stop))

    def heard(self, shards: list[tuple[str, list[int]]]) -> None:
        self._log.add(Heard(shards))

    def leases(self, leases: Leasing) -> Leasing:
        return _RecordedLeases(leases, self._log)

    def leaving(self, leaving: Callable[[], bool]) -> Callable[[], bool]:
        calls = 0

        def noted() -> bool:
            nonlocal calls
            calls += 1
            told = leaving()
            if told:
                self._log.add(Leaving(calls))
            return told

        return noted


class _RecordedLeases:
    def __init__(self, leases: Leasing, log: Log) -> None:
        self._leases, self._log = leases, log
        self._calls = 0

    def next(self) -> Granted:
        granted = self._leases.next()
        self._log.add(Leased(granted.epoch, granted.start, granted.stop, granted.wait, granted.over))
        return granted

    def holds(self, visits: Visits) -> bool:
        self._calls += 1
        held = self._leases.holds(visits)
        if not held:
            self._log.add(Dropped(self._calls))
        return held


def recorder(folder: Path | None, index: int, incarnation: int) -> WorkerRecorder:
    """The recorder of a worker; `folder` None: this run is not recorded."""
    return WorkerLog(folder, index, incarnation) if folder else WorkerRecorder()
