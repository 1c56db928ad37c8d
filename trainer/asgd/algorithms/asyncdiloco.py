"""Asynchronous local SGD with delayed Nesterov and dynamic local steps (Liu et al. 2024, arXiv 2401.09135).

Each push moves theta by eps D / N at once; its momentum waits until N pushes (the live workers, unless `buffer`
says otherwise) are in, and is then applied on their mean: m = mu m + buf / N; theta -= eps (D / N + mu m). Slow
workers send after fewer steps (`dynamicSteps`): the server knows how many steps each has sent of late, so no clock
is needed.
"""

from __future__ import annotations

import numpy as np

from asgd.algorithms.base import Push, ServerStrategy, ShardState, Strategy, Turn
from asgd.algorithms.local import LocalWorker
from asgd.kernel import F32
from asgd.spec.types import JobSpec


class AsyncDilocoServer(ServerStrategy):
    slots = ("momentum", "buffer")

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        self.rate = float(own.get("outerLearningRate", 0.7))
        self.mu = np.float32(own.get("outerMomentum", 0.9))
        self.buffer = own.get("buffer")

    def admit(self, push: Push, state: ShardState) -> str:
        count = int(self.buffer or state.workers)
        waiting = int(state.facts.get("waiting", 0)) + 1
        push.meta = {"share": 1.0 / count, "last": float(waiting >= count)}
        state.facts["waiting"] = 0 if waiting >= count else waiting
        return ""

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        weights, m, buffer = state.weights[span], state.slots["momentum"][span], state.slots["buffer"][span]
        share, rate = np.float32(push.meta["share"]), np.float32(self.rate)
        # Workers send x_i - x_base, which is -D.
        step = vector * share
        buffer += vector
        if push.meta["last"]:
            m *= self.mu
            m += buffer * share
            step += self.mu * m
            buffer[:] = 0
        step *= rate
        weights += step

    def finish(self, state: ShardState, push: Push) -> None:
        """Keeps how many steps each worker has sent of late."""
        sent = {int(k): v for k, v in state.facts.get("steps", {}).items() if int(k) in state.clocks}
        keep = 1 - 0.1 / max(1, state.workers)
        sent = {worker: steps * keep for worker, steps in sent.items()}
        sent[push.worker] = sent.get(push.worker, 0.0) + push.steps
        state.facts["steps"] = {str(worker): steps for worker, steps in sorted(sent.items())}

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        sent = state.facts.get("steps", {})
        if not sent or str(worker) not in sent:
            return {}
        return {"speed": sent[str(worker)] / max(sent.values())}


class AsyncDilocoWorker(LocalWorker):
    default_period = 50

    def turn(self, step: int) -> Turn:
        period = self.period
        if self.spec.algorithm.get("dynamicSteps", True):
            period = max(1, min(period, int(self.notes.get("speed", 1.0) * period)))
        due = self.since >= period
        return Turn(push=due, pull=due)


STRATEGY = Strategy(
    "async-diloco",
    AsyncDilocoServer,
    AsyncDilocoWorker,
    fields=("period", "outerLearningRate", "outerMomentum", "buffer", "dynamicSteps"),
    counts="samples",
)
