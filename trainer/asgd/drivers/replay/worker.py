"""A worker that lives its recorded life again: the very same core and gradients, resumed as far as its log lets it.

Workers share a process. Each turn begins with the worker's own random numbers and environment in place and ends when
it waits for an answer, so that it computes what it would compute in a process of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from asgd.algorithms.attacks import attack_of
from asgd.algorithms.registry import halves
from asgd.drivers.replay.centre import Gone, TapeCentre
from asgd.drivers.replay.mail import Mail
from asgd.errors import AsgdError, UserError
from asgd.record.reading import WorkerTape
from asgd.spec.types import Job
from asgd.wire.messages import Granted
from asgd.worker import wishes
from asgd.worker.assemble import overlapped, worker_rule
from asgd.worker.compute import Computation, prepare
from asgd.worker.core import WorkerCore, overlaps
from asgd.worker.device.accelerator import Staging, limit_threads
from asgd.worker.device.backward import studied
from asgd.worker.device.randomness import Randomness
from asgd.worker.device.vectors import FlatVectors
from asgd.worker.reading.data import dataset_size, guarantee, next_lease, open_batches, worker_environment
from asgd.worker.reading.leased import LeasedBatch, Waiting
from asgd.worker.sending.headers import PeerIdentity
from asgd.worker.sending.overlap import Overlap
from asgd.worker.task.build import build_task
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


class RerunWorker:
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
            limit_threads()
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
        spec, (index, incarnation) = job.spec, tape.person
        task = build_task(spec)
        probe = take_probe(task, spec)
        self._computation: Computation = prepare(task, spec, index)
        flat, dataset = self._computation.flat, dataset_size(task, spec.entrypoint)
        rule, attack = worker_rule(spec, flat, probe), attack_of(spec, index)
        identity = PeerIdentity(
            job=job.name, role="worker", index=index, incarnation=incarnation, size=flat.size, layout=flat.hash,
            dataset=dataset, guarantee=guarantee(task),
        )  # fmt: skip
        shards = spec.parameter_server.shards
        split = halves(spec).pulls_wait
        self.centre = TapeCentre(spec, identity, split, tape, mail)
        push, pulled = (Staging(flat.size, flat.device) for _ in range(2))
        self._vectors = FlatVectors(flat, push, pulled, keeps=overlaps(spec, rule))
        self._leases = TapeLeases(tape)
        self._core = WorkerCore(
            spec, rule, self._vectors, shards, dataset=dataset, attack=attack, leaving=self._leases.leaving
        )
        self._core.holds = self._leases.holds
        early = overlapped(spec, rule, flat, shards, attacks=attack is not None)
        self._overlap = Overlap(flat, shards, push) if early else None
        self._task, self._spec, self._index = task, spec, index
        self._batches: Iterator[LeasedBatch | Waiting] | None = None
        self._wishes, self._answer = self._live(), None
        self._wish: wishes.Wish | None = None
        """It waits for what it has wished for last."""

    def _live(self) -> wishes.Life[None]:
        core = self._core
        reason = yield from core.join()
        if not reason:
            self._task.model.train()
            reason = yield from core.train()
        yield from core.leave("drained" if self._leases.left else reason)

    def go_on(self) -> bool:
        """As far as it comes without an answer that is not there; whether its life is over. Raises Gone."""
        answer: Any = None
        while True:
            if self._wish is None:
                try:
                    self._wish = self._wishes.send(answer)
                except StopIteration:
                    return True
            if isinstance(self._wish, wishes.Await) and (answer := self.centre.outcome()) is None:
                return False
            if not isinstance(self._wish, wishes.Await):
                answer = self._carry_out(self._wish)
            self._wish = None

    def _carry_out(self, wish: wishes.Wish) -> Any:
        match wish:
            case wishes.Exchange():
                self.centre.start(wish.push, self._vectors.into if wish.pull else None, wish.meta)
            case wishes.Next():
                return self._next()
            case wishes.Compute():
                return self._compute(wish.item)
            case wishes.Join():
                return self.centre.join(lambda: self._vectors.push.out(self._vectors.weights))
        return None

    def _next(self) -> LeasedBatch | Waiting | None:
        if self._batches is None:
            over = lambda: bool(self._core.stop) or self._leases.leaving()  # noqa: E731
            asks = next_lease(self._leases, over)
            self._batches = open_batches(self._task, self._spec, self._index, asks)
        return next(self._batches, None)

    # -- gradients ---------------------------------------------------------------------------------

    def _compute(self, item: LeasedBatch) -> wishes.Computed:
        """As in the run, a gradient leaves by chunks where it left while it was computed; here it is whole by then."""
        overlap = self._overlap
        early = overlap is not None and overlap.trusted
        loss = self._computation.gradient(studied(item, self._core.attack), self._watched)
        if not early or overlap is None:
            return wishes.Computed(loss)
        meta = self._core.early(item)
        if not math.isfinite(loss):
            return wishes.Computed(loss)
        meta.loss = loss
        self.centre.start(overlap.vector, self._vectors.into, meta)
        return wishes.Computed(loss, left=True)

    @contextmanager
    def _watched(self, item: LeasedBatch, loss: Tensor, before: float, share: float) -> Iterator[None]:
        overlap = self._overlap
        if overlap is None or overlap.given_up:
            yield
            return
        overlap.begin()
        with overlap.computing():
            yield

    def close(self) -> None:
        """Nothing of it runs on."""
        self._computation.close()
        if self._overlap:
            self._overlap.close()
