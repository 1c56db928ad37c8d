"""All servers and workers of a recording on one stage: each goes on as far as the others allow, until the end.

In the run everything had a cause before it, and each log was written before its consequences; so whatever order they
are resumed in, somebody can always go on, and all end where the run ended. If nobody can, the logs are not of one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from asgd.drivers.replay.lane import Mail
from asgd.drivers.replay.server import ReplayedServer
from asgd.drivers.replay.worker import ReplayedWorker
from asgd.errors import UserError
from asgd.kernel import F32
from asgd.record.reading import Person, Recording
from asgd.server.saving import Restored


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
        self.mail = Mail(recording)
        self.servers = [ReplayedServer(recording, index, self.mail) for index in range(len(recording.shards))]
        self.workers: dict[Person, ReplayedWorker] = {}
        self._cut: dict[int, Restored] = {}
        """By shard, its state after `until`."""

    def run(self) -> Ending:
        """Raises Differs where it leaves the run, UserError when the logs contradict each other."""
        try:
            while not self._over():
                moved = [self._advance(server) for server in self.servers]
                self._call_up()
                moved += [worker.resume() for worker in self.workers.values()]
                if not any(moved) and not self._over():
                    stuck = next(server for server in self.servers if not server.over)
                    raise stuck.tape.contradiction()
            return self._ending()
        finally:
            for worker in self.workers.values():
                worker.end()

    def _over(self) -> bool:
        if self.until is not None and len(self._cut) == len(self.servers):
            return True
        return all(server.over for server in self.servers)

    def _advance(self, server: ReplayedServer) -> bool:
        moved = False
        while server.step():
            moved = True
            if self.until is not None and server.index not in self._cut and server.completed >= self.until:
                self._cut[server.index] = server.snapshot()
        return moved

    def _call_up(self) -> None:
        """Workers that have said hello begin to live."""
        for server in self.servers:
            for person in server.shard.members.items():
                if person not in self.workers and person in self.recording.workers:
                    tape = self.recording.workers[person]
                    self.workers[person] = ReplayedWorker(self.recording.job, tape, self.mail)

    # -- the end -----------------------------------------------------------------------------------

    def _ending(self) -> Ending:
        updates = self.servers[0].shard.state.version
        if self.until is not None:
            if len(self._cut) < len(self.servers):
                raise UserError(f"--until: {self.until:,} is beyond the run's {updates:,} updates")
            cut = [self._cut[server.index] for server in self.servers]
            return Ending(_join(cut), self.until, [state.meta["version"] for state in cut])
        final = [server.snapshots.get(self.recording.run.save) for server in self.servers]
        kept = [snapshot for snapshot in final if snapshot is not None]
        versions = [server.shard.state.version for server in self.servers]
        return Ending(_join(kept) if len(kept) == len(final) else None, updates, versions)


def _join(parts: list[Restored]) -> F32:
    whole: Any = np.concatenate([part.arrays["weights"] for part in parts])
    return np.asarray(whole, np.float32)
