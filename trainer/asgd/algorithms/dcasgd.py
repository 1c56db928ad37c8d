"""Delay-compensated A-SGD (Zheng et al. 2016): a stale gradient is corrected to first order for how far the centre
moved.

`g + lambda g*g*(x - backup)`, where backup is the centre as the worker had it when it computed g. The shard keeps
what it has sent to each worker, so the correction costs no bytes on the wire: one backup a worker, and two with
`exchange.ahead: 1`, where the gradient is of the version before the one that was sent last. `adaptive` divides
lambda by the root of a running mean of g*g. See algorithms.md section 3.
"""

from __future__ import annotations

import numpy as np

from asgd.algorithms.base import Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientServer, GradientWorker
from asgd.kernel import F32
from asgd.spec.types import JobSpec

EPSILON = 1e-7


class DcServer(GradientServer):
    """kept[worker]: its backups, (depth * n,). Which version is where is of the moment, as they are."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        self.adaptive = bool(own.get("adaptive", False))
        self.strength = float(own.get("lambda", 2.0 if self.adaptive else 0.04))
        self.decay = float(own.get("decay", 0.95))
        self.slots = (*self.slots, "meanSquare") if self.adaptive else self.slots
        self.depth = 1 + (spec.exchange.ahead > 0)
        self._versions: dict[int, list[int]] = {}
        """{worker: version of each backup}"""
        self._newest: dict[int, int] = {}
        """{worker: the backup that was sent last}"""
        self._based: dict[int, int | None] = {}
        """{worker: the backup that its newest push was computed from}; None: it is not here."""
        self._unused: set[int] = set()
        """Workers that have not pushed since their newest backup: asked for again, it is replaced."""

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        if not push.applied:
            versions = self._versions.get(push.worker, [])
            # NB: all chunks go by the place that the first one finds, for the answer takes it over chunk by chunk.
            self._based[push.worker] = versions.index(push.base) if push.base in versions else None
            self._unused.discard(push.worker)
        backup = self._backup(state, push.worker, self._based.get(push.worker))
        if backup is None or self.strength == 0:
            super().apply(state, span, push, vector)
            return
        super().apply(state, span, push, vector + self._correction(state, span, vector, backup[span]))

    def _backup(self, state: ShardState, worker: int, place: int | None) -> F32 | None:
        kept, size = state.kept.get(worker), state.weights.size
        return None if kept is None or place is None else kept[place * size :][:size]

    def _correction(self, state: ShardState, span: slice, vector: F32, backup: F32) -> F32:
        correction = state.weights[span] - backup
        square = vector * vector
        correction *= square
        correction *= np.float32(self.strength)
        if self.adaptive:
            mean = state.slots["meanSquare"][span]
            mean *= np.float32(self.decay)
            square *= np.float32(1 - self.decay)
            mean += square
            correction /= np.sqrt(mean + np.float32(EPSILON))
        return correction

    def answer(self, state: ShardState, span: slice, worker: int) -> F32:
        weights = state.weights[span]
        if worker >= 0:
            self._begin(state, span, worker)
            backup = self._backup(state, worker, self._newest[worker])
            assert backup is not None
            backup[span] = weights
        return weights

    def _begin(self, state: ShardState, span: slice, worker: int) -> None:
        """The first chunk of an answer (the shard's end) is another backup, named as its worker will name it."""
        if worker not in state.kept or worker not in self._versions:
            state.kept[worker] = np.tile(state.weights, self.depth)
            self._versions[worker] = [state.version] * self.depth
            self._newest[worker] = 0
        if span.stop == state.weights.size:
            if worker not in self._unused:
                self._newest[worker] = (self._newest[worker] + 1) % self.depth
            self._versions[worker][self._newest[worker]] = state.version
            self._unused.add(worker)

    def left(self, state: ShardState, worker: int) -> None:
        state.kept.pop(worker, None)
        for known in (self._versions, self._newest, self._based):
            known.pop(worker, None)
        self._unused.discard(worker)


STRATEGY = Strategy(
    "dc-asgd", DcServer, GradientWorker, fields=("adaptive", "lambda", "decay"), counts="samples", models=True
)
