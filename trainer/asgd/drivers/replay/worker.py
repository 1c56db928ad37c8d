"""A worker that lives its recorded life again: the very same core and gradients, resumed as far as its log lets it.

Workers share a process. Each turn begins with the worker's own random numbers and environment in place and ends when
it waits for an answer, so that it computes what it would compute in a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from asgd.algorithms.registry import halves
from asgd.drivers.replay.centre import Gone, TapeCentre
from asgd.drivers.replay.lane import Mail
from asgd.errors import AsgdError, UserError
from asgd.record.reading import WorkerTape
from asgd.spec.types import Job, JobSpec
from asgd.task import Task
from asgd.wire.messages import Granted
from asgd.wire.rule import with_rule
from asgd.worker.assemble import parts_of, worker_rule
from asgd.worker.device.accelerator import Staging, limit_threads
from asgd.worker.device.modes import start_training
from asgd.worker.device.randomness import Randomness
from asgd.worker.granting import Granting, Reading
from asgd.worker.keeping import read
from asgd.worker.meters import Meters
from asgd.worker.optimizing.of_task import rule_of
from asgd.worker.optimizing.stepping import TaskOptimizer
from asgd.worker.prepared import prepared
from asgd.worker.reading.data import next_lease, open_batches, worker_environment
from asgd.worker.reading.leased import LeasedBatch, NextLease, Waiting
from asgd.worker.sending.headers import PeerIdentity
from asgd.worker.task.build import build_task
from asgd.worker.users_code import sentence
from asgd.worker.wishes import LATER


class TapeLeases:
    """The ranges that a worker was granted, and which batches were its own, as recorded."""

    def __init__(self, tape: WorkerTape) -> None:
        self._tape, self._held, self._asked = tape, 0, 0

    def next(self) -> Granted:
        """The next lease."""
        if not self._tape.leases:
            raise Gone
        lease = self._tape.leases.popleft()
        return Granted(lease.epoch, lease.start, lease.stop, lease.wait, lease.over)

    def holds(self, visits: Sequence[tuple[int, int, int]]) -> bool:
        """Whether the batch was still this worker's."""
        self._held += 1
        return self._held not in self._tape.dropped

    def leaving(self) -> bool:
        """Whether it had been told to leave."""
        self._asked += 1
        return self.left

    @property
    def left(self) -> bool:
        """It has heard that it is to leave."""
        return self._tape.leaves_at is not None and self._asked >= self._tape.leaves_at


class ReplayedWorker:
    """The worker of `tape`."""

    def __init__(self, job: Job, tape: WorkerTape, mail: Mail) -> None:
        self._job, self._tape, self._mail = job, tape, mail
        self._random = Randomness()
        self._life: _Life | None = None
        self._ended = False

    def resume(self) -> bool:
        """Lets the worker go on until it waits again, if it can. Raises what users' code raises anew."""
        if self._ended or (self._life is not None and self._life.centre.waits):
            return False
        with self._random.in_place():
            os.environ.update(worker_environment(self._job.spec, self._tape.person[0]))
            try:
                self._go_on()
            except Gone:
                self.end()
            except Exception as error:
                # Users' code may raise anything. What ended this worker in the run ends it here too, and is no news.
                self.end()
                if self._tape.exchanges:
                    self._tell(error)
        return True

    def _go_on(self) -> None:
        if self._life is None:
            limit_threads(self._job.spec)
            self._life = _Life(self._job, self._tape, self._mail)
        if self._life.go_on():
            self.end()

    def _tell(self, error: Exception) -> None:
        if isinstance(error, AsgdError):
            raise error
        raise UserError(
            f"worker {self._tape.person[0]} failed, which it did not in the run: {sentence(error)}"
        ) from error

    def end(self) -> None:
        """Nobody needs this worker any more."""
        self._ended = True
        if self._life:
            self._life.close()
            self._life = None


class _Life:
    """The worker's core between the recorded shards and the user's model."""

    def __init__(self, job: Job, tape: WorkerTape, mail: Mail) -> None:
        index, incarnation = tape.person
        task = build_task(job.spec)
        brought = rule_of(task, job.spec, job.document)
        spec = with_rule(job.spec, brought)
        self._computation, about, probe = prepared(task, spec, index, brought, compared=False)
        flat, leases = self._computation.flat, TapeLeases(tape)
        identity = PeerIdentity(
            job=job.name, role="worker", index=index, incarnation=incarnation, size=flat.size, layout=flat.hash
        )  # fmt: skip
        self.centre = TapeCentre(spec, identity, halves(spec).pulls_wait, tape, mail)
        rule, following = worker_rule(spec, flat, probe, task, brought)
        if tape.state and isinstance(rule.optimizer, TaskOptimizer):
            rule.optimizer.resume(read(tape.state))
        push, pulled = (Staging(flat.size, flat.device) for _ in range(2))
        parts = parts_of(spec, index, flat, about, rule, push, pulled, leaving=leases.leaving)
        core, self._overlap = parts.core, parts.overlap
        core.holds = leases.holds
        self._grants = Granting(
            core, parts.vectors, self.centre, Meters(), overlap=parts.overlap, pause=lambda seconds: None
        )
        core.following = following
        asks = next_lease(leases, lambda: bool(core.stop) or leases.leaving())
        self._grants.reading = Reading(_batches(task, spec, index, asks), self._computation.gradient)
        self._life = core.life(lambda: leases.left)
        self._begun = False

    def go_on(self) -> bool:
        """As far as it comes without an answer that is not there; whether its life is over. Raises Gone."""
        answer = self.centre.outcome() if self._begun else None
        self._begun = True
        return self._grants.resume(self._life, answer) is not LATER

    def close(self) -> None:
        """Nothing of it runs on."""
        self._computation.close()
        if self._overlap:
            self._overlap.close()


def _batches(task: Task, spec: JobSpec, index: int, asks: NextLease) -> Iterator[LeasedBatch | Waiting]:
    """Opened when the first is wanted, as in the run."""
    batches = open_batches(task, spec, index, asks)
    start_training(task.model)
    yield from batches
