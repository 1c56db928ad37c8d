"""All shards and workers of a recording on one stage: each goes on as far as the others allow, until the end.

In the run everything had a cause before it, and each log was written before its consequences; so whatever order they
are resumed in, somebody can always go on, and all end where the run ended. If nobody can, the logs are not of one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from asgd.drivers.replay.mail import Mail
from asgd.drivers.replay.shard import RerunShard, Snapshot
from asgd.drivers.replay.worker import RerunWorker
from asgd.errors import UserError
from asgd.kernel import F32
from asgd.record.reading import Person, Recording


@dataclass(frozen=True, slots=True)
class Ending:
    """Where the replay came to. `weights` is (N,), None when the run left none."""

    weights: F32 | None
    updates: int
    versions: list[int]


class Stage:
    """The run of `recording`, again. `until`: the update after which it ends, on each shard by its own version."""

    def __init__(self, recording: Recording, until: int | None = None) -> None:
        self.recording, self.until = recording, until
        self.mail = Mail()
        for person, shard, term, stamp in recording.taken():
            self.mail.want(person, shard, term, stamp)
        self.shards = [RerunShard(recording, index, self.mail) for index in range(len(recording.shards))]
        self.workers: dict[Person, RerunWorker] = {}
        self._cut: dict[int, Snapshot] = {}
        self._versions: dict[int, int] = {}

    def run(self) -> Ending:
        """Raises Differs where it leaves the run, UserError when the logs contradict each other."""
        try:
            while not self._over():
                moved = [self._advance(shard) for shard in self.shards]
                self._call_up()
                moved += [worker.resume() for worker in self.workers.values()]
                if not any(moved) and not self._over():
                    raise UserError(f"the recording contradicts itself: {self._stuck()}")
            return self._ending()
        finally:
            for worker in self.workers.values():
                worker.end()

    def _over(self) -> bool:
        if self.until is not None and len(self._cut) == len(self.shards):
            return True
        return all(shard.over for shard in self.shards)

    def _advance(self, shard: RerunShard) -> bool:
        moved = False
        while shard.step():
            moved = True
            if self.until is not None and shard.index not in self._cut and shard.completed >= self.until:
                self._cut[shard.index] = shard.snapshot()
                self._versions[shard.index] = shard.shard.state.version
        return moved

    def _call_up(self) -> None:
        """Workers that have said hello begin to live."""
        for shard in self.shards:
            for person in shard.shard.members.items():
                if person not in self.workers and person in self.recording.workers:
                    tape = self.recording.workers[person]
                    self.workers[person] = RerunWorker(self.recording.job, tape, self.mail)

    def _stuck(self) -> str:
        return next(shard.waits_for() for shard in self.shards if not shard.over)

    # -- the end -----------------------------------------------------------------------------------

    def _ending(self) -> Ending:
        updates = self.shards[0].shard.state.version
        if self.until is not None and len(self._cut) < len(self.shards):
            raise UserError(f"--until: {self.until:,} is beyond the run's {updates:,} updates")
        if self.until is not None:
            versions = [version for _, version in sorted(self._versions.items())]
            return Ending(_join([cut for _, cut in sorted(self._cut.items())]), self.until, versions)
        versions = [shard.shard.state.version for shard in self.shards]
        final = [shard.snapshots.get(self.recording.run.save) for shard in self.shards]
        kept = [snapshot for snapshot in final if snapshot is not None]
        return Ending(_join(kept) if len(kept) == len(final) else None, updates, versions)


def _join(parts: list[Snapshot]) -> F32:
    whole: Any = np.concatenate([part.arrays["weights"] for part in parts])
    return np.asarray(whole, np.float32)
