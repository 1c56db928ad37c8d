"""A worker that lives its recorded life again: the very same core and gradients, resumed as far as its log lets it.

Workers share a process. Each turn begins with the worker's own random numbers and environment in place and ends when
it waits for an answer, so that it computes what it would compute in a process of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import structs
from torch import Tensor

from asgd.algorithms.gathering import shard_cuts
from asgd.algorithms.registry import halves
from asgd.drivers.replay.centre import Gone, TapeCentre
from asgd.drivers.replay.lane import Mail
from asgd.errors import AsgdError, UserError
from asgd.record.reading import WorkerTape
from asgd.spec.types import Job
from asgd.wire.messages import Granted
from asgd.wire.rule import with_rule
from asgd.worker import wishes
from asgd.worker.assemble import About, parts_of, worker_rule
from asgd.worker.compute import Computation, prepare
from asgd.worker.device.accelerator import Staging, limit_threads
from asgd.worker.device.backward import studied
from asgd.worker.device.modes import start_training
from asgd.worker.device.randomness import Randomness
from asgd.worker.keeping import read
from asgd.worker.optimizing.of_task import rule_of
from asgd.worker.optimizing.stepping import TaskOptimizer
from asgd.worker.reading.data import dataset_size, guarantee, next_lease, open_batches, worker_environment
from asgd.worker.reading.leased import LeasedBatch, Waiting
from asgd.worker.sending.headers import Outcome, PeerIdentity
from asgd.worker.task.agreeing import look
from asgd.worker.task.build import build_task
from asgd.worker.task.first_loss import first_loss
from asgd.worker.task.probing import take_probe
from asgd.worker.users_code import sentence


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
        self._index, incarnation = tape.person
        self._task = build_task(job.spec)
        brought = rule_of(self._task, job.spec, job.document)
        job = structs.replace(job, spec=with_rule(job.spec, brought))
        self._spec = job.spec
        looked = look(self._task)  # data that draw from a generator of their own have been read by so much
        probe = take_probe(self._task, job.spec)
        self._computation: Computation = prepare(self._task, job.spec, self._index)
        flat = self._computation.flat
        if flat.device.type != "cpu":
            first_loss(
                self._task, job.spec, flat, looked.raw
            )  # as for the data; on processors it leaves no trace
        about = About(
            dataset=dataset_size(self._task, job.spec.entrypoint),
            guarantee=guarantee(self._task),
            announced=True,
            rule=brought,
        )
        identity = PeerIdentity(
            job=job.name, role="worker", index=self._index, incarnation=incarnation, size=flat.size, layout=flat.hash,
            cuts=shard_cuts(job.spec, flat.layout, job.spec.parameter_server.shards),
        )  # fmt: skip
        self.centre = TapeCentre(job.spec, identity, halves(job.spec).pulls_wait, tape, mail)
        self._leases = TapeLeases(tape)
        rule, following = worker_rule(job.spec, flat, probe, self._task, brought)
        push, pulled = [Staging(flat.size, flat.device) for _ in range(2)]
        if tape.state and isinstance(rule.optimizer, TaskOptimizer):
            rule.optimizer.resume(read(tape.state))
        self._parts = parts_of(
            job.spec, self._index, flat, about, rule, push, pulled, leaving=self._leases.leaving
        )
        self._core, self._vectors = self._parts.core, self._parts.vectors
        self._core.holds = self._leases.holds
        self._core.following = following
        self._batches: Iterator[LeasedBatch | Waiting] | None = None
        self._life = self._core.life(lambda: self._leases.left)
        self._begun = False
        self._ways: dict[type[wishes.Wish], Callable[[Any], Any]] = {
            wishes.Join: lambda wish: self.centre.join(lambda: push.out(self._vectors.weights)),
            wishes.Exchange: self._exchange,
            wishes.Await: lambda wish: self._landed(),
            wishes.Next: lambda wish: self._next(),
            wishes.Compute: self._compute,
            wishes.Sleep: lambda wish: None,
            wishes.Leave: lambda wish: None,
        }

    def go_on(self) -> bool:
        """As far as it comes without an answer that is not there; whether its life is over. Raises Gone."""
        answer = self._landed() if self._begun else None
        self._begun = True
        return wishes.resume(self._life, self._ways, answer) is not wishes.LATER

    def _landed(self) -> Outcome | wishes.Later:
        return self.centre.outcome() or wishes.LATER

    def _exchange(self, wish: wishes.Exchange) -> None:
        self.centre.start(wish.push, self._vectors.into if wish.pull else None, wish.meta)

    def _next(self) -> LeasedBatch | Waiting | None:
        if self._batches is None:
            over = lambda: bool(self._core.stop) or self._leases.leaving()  # noqa: E731
            asks = next_lease(self._leases, over)
            self._batches = open_batches(self._task, self._spec, self._index, asks)
            start_training(self._task.model)
        return next(self._batches, None)

    # -- gradients ---------------------------------------------------------------------------------

    def _compute(self, wish: wishes.Compute) -> wishes.Computed:
        """As in the run, a gradient leaves by chunks where it left while it was computed; here it is whole by then."""
        overlap = self._parts.overlap
        early = overlap is not None and overlap.trusted and self._core.leaves_early
        loss = self._computation.gradient(studied(wish.item, self._core.attack), self._watched)
        if not early or overlap is None:
            return wishes.Computed(loss)
        meta = self._core.early(wish.item)
        if not math.isfinite(loss):
            return wishes.Computed(loss)
        meta.loss = loss
        self.centre.start(overlap.vector, self._vectors.into, meta)
        return wishes.Computed(loss, left=True)

    @contextmanager
    def _watched(self, item: LeasedBatch, loss: Tensor, before: float, share: float) -> Iterator[None]:
        overlap = self._parts.overlap
        if overlap is None or overlap.given_up:
            yield
            return
        overlap.begin()
        with overlap.computing():
            yield

    def close(self) -> None:
        """Nothing of it runs on."""
        self._computation.close()
        if self._parts.overlap:
            self._parts.overlap.close()
