"""What a worker tells its task's callbacks: that it starts, each step, and its end."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

from asgd.callbacks import ON_END, ON_START, ON_STEP, End, Start, Step
from asgd.host.env import ProcessConfig
from asgd.worker.replica import Replica
from asgd.worker.task.calling import CallbackFailed, Calling


class Told:
    """Of the worker that `config` describes. `dataset`: samples of an epoch, None for streams."""

    def __init__(
        self, config: ProcessConfig, calling: Calling, replica: Replica, dataset: int | None
    ) -> None:
        self._config, self._calling, self._replica, self._dataset = config, calling, replica, dataset
        self._steps = 0
        self._started = False

    def start(self) -> None:
        """The job's weights are there. From now on each step is told, before the batch after it is read."""
        self._started = True
        self._calling.call(ON_START, lambda: Start(**self._common()))
        if self._calling.wanted(ON_STEP):
            self._replica.between = self._step

    def _step(self) -> None:
        core = self._replica.core
        if core.steps > self._steps:
            self._steps = core.steps
            loss = self._replica.meters.loss
            self._calling.call(
                ON_STEP, lambda: Step(**self._common(), step=core.steps, loss=loss, learning_rate=core.rate)
            )

    def end(self, reason: str) -> None:
        """This worker has said goodbye. What a callback raises now is a warning: training is over."""
        if not self._started:
            return  # the job was over when it came
        # NB: one that gets no more data may hear why by its last heartbeat alone.
        reason = reason or self._replica.heartbeat.heard.stop
        try:
            self._calling.call(ON_END, lambda: End(**self._common(), reason=reason))
        except CallbackFailed as error:
            traceback.print_exception(error)
            warnings.warn(str(error), stacklevel=1)

    def _common(self) -> dict[str, Any]:
        core, versions = self._replica.core, self._replica.meters.versions
        return {
            "job": self._config.job.name, "model": self._calling.model, "worker": self._config.index,
            "workers": core.rule.workers, "updates": versions[0] if versions else 0, "samples": core.samples,
            "epochs": core.samples / self._dataset if self._dataset else None,
        }  # fmt: skip
