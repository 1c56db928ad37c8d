"""A worker that lives its recorded life again: the very same `Replica` and training loop, in a thread that has turns.

Only one thread runs at a time. Each turn begins with the worker's own random numbers and environment in place and ends
when it waits for an answer, so that it computes what it would compute in a process of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from asgd.algorithms.registry import strategy
from asgd.drivers.randomness import Randomness
from asgd.drivers.replay.centre import Ahead, Gone, RerunCentre
from asgd.drivers.replay.loading import WorkerTape
from asgd.drivers.replay.mail import Mail
from asgd.errors import AsgdError, UserError
from asgd.host.env import ProcessConfig
from asgd.spec.types import Job
from asgd.wire.messages import Granted
from asgd.worker.device.accelerator import limit_threads
from asgd.worker.device.backward import train
from asgd.worker.device.compute import prepare
from asgd.worker.reading.data import dataset_size, guarantee, worker_environment
from asgd.worker.replica import Replica
from asgd.worker.task.build import build_task
from asgd.worker.task.entrypoint import sentence
from asgd.worker.task.probing import take_probe


class RerunReplica(Replica):
    """A replica between the recorded centre and the user's model."""

    rerun: RerunWorker

    def _centre(self) -> RerunCentre:
        rerun = self.rerun
        split = strategy(str(self.spec.algorithm["name"])).server(self.spec).pulls_wait
        return RerunCentre(self.spec, self.identity, split, rerun.tape, rerun.mail, rerun.wait)

    def join(self) -> str:
        if self._thread:
            self._thread = self.rerun.ahead
        if self._early:
            self._early = self.rerun.ahead
        self.stop = self.centre.join(lambda: self._push.out(self.flat.weights))
        return self.stop or self.refresh()


class RerunWorker(threading.Thread):
    """The worker of `tape`. Not started by `start` but by the first `resume`."""

    def __init__(self, job: Job, tape: WorkerTape, mail: Mail) -> None:
        super().__init__(name=f"worker-{tape.person[0]}", daemon=True)
        self.job, self.tape, self.mail = job, tape, mail
        self.steps = 0
        self.error: BaseException | None = None
        self.ahead = Ahead()
        self._turn, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._until: Callable[[], bool] | None = None
        self._random = Randomness()
        self._held = 0
        self._asked = 0
        self._ended = False
        self._cancelled = False

    # -- having turns ------------------------------------------------------------------------------

    def resume(self) -> bool:
        """Lets the worker go on until it waits again, if it can. Raises what users' code raises anew."""
        if self._ended or (self._until is not None and not self._until()):
            return False
        with self._random.in_place():
            os.environ.update(worker_environment(self.job.spec, self.tape.person[0]))
            if self.ident:
                self._turn.release()
            else:
                self.start()
            self._paused.acquire()
        if isinstance(self.error, Exception) and not isinstance(self.error, AsgdError):
            raise UserError(
                f"worker {self.tape.person[0]} failed, which it did not in the run: {sentence(self.error)}"
            ) from self.error
        if self.error is not None:
            raise self.error
        return True

    def cancel(self) -> None:
        """Ends the thread; nobody needs its worker any more."""
        if self.ident and not self._ended:
            self._cancelled = True
            self._turn.release()
            self.join()

    def wait(self, until: Callable[[], bool]) -> None:
        """Called by the worker: lets the others go on until the condition holds."""
        self._until = until
        if until():
            return
        self._paused.release()
        self._turn.acquire()
        if self._cancelled:
            raise Gone

    # -- its life ----------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self._live()
        except Gone:
            self._finish_sending()
        except BaseException as error:
            # What ended this worker in the run ends it here too, and is no news.
            self.error = error if self.tape.exchanges else None
        finally:
            self._ended = True
            self._paused.release()

    def _finish_sending(self) -> None:
        """A push that was on its way when the worker died has gone out."""
        if self.ahead.newest and not self._cancelled:
            self.ahead.newest.drop()

    def _live(self) -> None:
        limit_threads()
        spec, (index, incarnation) = self.job.spec, self.tape.person
        task = build_task(spec)
        config = ProcessConfig(
            job=self.job, index=index, servers=(), bind="", keys=None, metrics="", checkpoint="", announce=None,
            live=None, run="", node="", join_timeout_seconds=0.0, incarnation=incarnation,
        )  # fmt: skip
        probe = take_probe(task, spec)
        computation = prepare(task, spec, index)
        data = dataset_size(task, spec.entrypoint)
        replica = _replica(self)(
            config, task.model, data, guarantee(task), flat=computation.flat, probe=probe, announced=True
        )
        try:
            reason = replica.join() or train(task, replica, self, self._leaving, computation.gradient)
        finally:
            computation.close()
        replica.close(reason)
        self.steps = replica.meters.steps

    def _leaving(self) -> bool:
        self._asked += 1
        return self.tape.leaves_at is not None and self._asked >= self.tape.leaves_at

    def next(self) -> Granted:
        """The next lease, as recorded."""
        if not self.tape.leases:
            raise Gone
        lease = self.tape.leases.popleft()
        return Granted(lease.epoch, lease.start, lease.stop, lease.wait, lease.over)

    def holds(self, visits: Sequence[tuple[int, int, int]]) -> bool:
        """Whether the batch was still this worker's, as recorded."""
        self._held += 1
        return self._held not in self.tape.dropped


def _replica(worker: RerunWorker) -> type[RerunReplica]:
    """NB: a replica connects while it is made, and so must know its worker before."""
    return type("RerunReplica", (RerunReplica,), {"rerun": worker})
