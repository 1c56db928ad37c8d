"""Own loops without processes: connections of several workers to one centre and one pool, all in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from asgd.algorithms.asgd import sends_gradients
from asgd.algorithms.registry import halves
from asgd.server.pool import Pool
from asgd.spec.types import JobSpec
from asgd.wire.messages import Granted
from asgd.worker.assemble import About, parts_of
from asgd.worker.device.accelerator import Staging
from asgd.worker.device.flat import Flat
from asgd.worker.meters import Meters
from asgd.worker.own.connection import Connection, Joining
from asgd.worker.replica import Replica
from asgd.worker.sending.headers import Outcome, PeerIdentity, PushHeader
from asgd.worker.sending.leases import Wanted
from tests.checks.harness import job_spec

BATCH = 4


class Job:
    """The servers of a job: plain SGD on gradients, or sums of deltas; and its pool, as soon as data is told."""

    def __init__(self, **spec: Any) -> None:
        fields = {"stopAfter": {"samples": 10**6}, "batchSize": BATCH, "optimizer": {"learningRate": 0.1}}
        self.spec: JobSpec = job_spec(**(fields | spec))
        self.weights: np.ndarray[Any, Any] | None = None
        self.pool: Pool | None = None
        self.stop = ""
        self.samples = self.version = 0
        self.live: set[int] = set()
        self.pushes: list[PushHeader] = []
        self.told: list[PeerIdentity] = []
        self.lock = threading.Lock()

    def connect(self, model: nn.Module, index: int = 0, unfreezes: Sequence[str] = ()) -> Connection:
        flat = Flat(model, torch.device("cpu"), set(unfreezes))
        rule = halves(self.spec).worker()
        staging = [Staging(flat.size, flat.device) for _ in range(2)]
        about = About(dataset=None, guarantee="", own_loop=True)
        meters = Meters(overlapped=False)
        parts = parts_of(
            self.spec, index, flat, about, rule, *staging, leaving=lambda: False, observer=meters
        )
        replica = Replica(
            parts.core,
            parts.vectors,
            cast(Any, Centre(self, index)),
            cast(Any, Heart()),
            meters,
        )
        leasing = Leasing(self, index)
        joining = Joining(index, 1, self.spec, cast(Any, Heart()), cast(Any, leasing), cast(Any, Heart()))
        return Connection(joining, replica, model, flat, leasing, [])


class Heart:
    """What is opened beside, and does nothing here."""

    beats = False
    patience = None

    def start(self) -> None:
        self.beats = True

    def close(self) -> None:
        return


class Centre:
    """Worker `index`'s way to the servers."""

    def __init__(self, job: Job, index: int) -> None:
        self.job, self.index = job, index
        self.identity = PeerIdentity(job="job", role="worker", index=index, incarnation=1, size=1, layout="")
        self.channels = [self]
        self.patience = self

    def give_up(self, why: str) -> None:
        return

    def introduce(self, identity: PeerIdentity) -> None:
        self.identity = identity
        self.job.told.append(identity)
        if self.job.pool is None and identity.dataset:
            rule = self.job.spec.stop_after
            self.job.pool = Pool(identity.dataset, self.job.spec.batch_size, rule.epochs)

    def join(self, bring: Callable[[], Any]) -> str:
        self.job.live.add(self.index)
        if self.job.weights is None:
            self.job.weights = np.array(bring())
        return self.job.stop

    def exchange(self, push: Any, pull: Any, meta: PushHeader, source: Any = None) -> Outcome:
        with self.job.lock:
            return self._exchange(self.job, push, pull, meta)

    def _exchange(self, job: Job, push: Any, pull: Any, meta: PushHeader) -> Outcome:
        assert job.weights is not None
        if push is not None:
            gradients = sends_gradients(job.spec)
            job.weights += np.float32(-job.spec.optimizer.learning_rate if gradients else 1.0) * push
            job.samples += meta.samples
            job.version += 1
            job.pushes.append(meta)
            if job.pool:
                job.pool.visit(self.index, list(meta.visits))
                job.stop = job.stop or ("epochs" if job.pool.done else "")
        if pull is not None:
            pull[:] = job.weights
        return Outcome(job.stop, ("applied",), job.samples, len(job.live), {}, versions=(job.version,))

    def leave(self, reason: str) -> None:
        self.job.live.discard(self.index)
        if self.job.pool:
            self.job.pool.release(self.index)


class Leasing:
    """Worker `index`'s ranges; what it holds no longer is in `lost`."""

    def __init__(self, job: Job, index: int) -> None:
        self.job, self.index = job, index
        self.wanted = Wanted()
        self.lost: set[tuple[int, int, int]] = set()

    def next(self) -> Granted:
        with self.job.lock:
            return self._next(self.job.pool, self.wanted)

    def _next(self, pool: Pool | None, wanted: Wanted) -> Granted:
        assert pool is not None
        pool.visit(self.index, list(wanted.skipped))
        if pool.done:
            self.job.stop = "epochs"
        span = pool.lease(self.index, max(1, len(self.job.live)), wanted.batch, wanted.until)
        if span:
            return Granted(*span)
        passed = wanted.until >= 0 and pool.more
        return Granted(wait=not pool.done and not passed, over=pool.done, passed=passed)

    def holds(self, visits: Any) -> bool:
        return not any(visit in self.lost for visit in visits)
