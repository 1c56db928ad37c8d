"""Moves the figures of a task's own optimizer while it trains, and says what the servers are told of them."""

from __future__ import annotations

from collections.abc import Sequence

from asgd.errors import UserError
from asgd.worker.optimizing.handed import Handed
from asgd.worker.optimizing.schedules import EPOCH, Scheduled, steps_of


class Following:
    """Schedulers of one worker. `dataset`: samples of an epoch, None for streams; `batch`: those of a step; `handed`:
    the optimizer where the servers run its rule. Raises UserError where a scheduler goes by epochs of a stream."""

    def __init__(
        self, schedules: Sequence[Scheduled], dataset: int | None, batch: int, handed: Handed | None = None
    ) -> None:
        self._schedules, self._dataset, self._batch, self._handed = schedules, dataset, batch, handed
        self._stepped = [0] * len(schedules)
        self._own = self._steps = self._others = 0
        """Samples and steps of this worker, and samples of the others."""
        self._rollbacks = 0
        if dataset is None and any(each.interval == EPOCH for each in schedules):
            raise UserError(
                'Task.schedulers: interval "epoch" needs data of a known size, and this entrypoint\'s data is a stream;'
                ' allowed here: "step"'
            )

    def __call__(self, samples: int, job: int, rollbacks: int) -> list[dict[str, float]]:
        """This worker has made a step of `samples` (0: none), the job as it knows is at `job` samples, after so many
        rollbacks. Returns what its next push says of the optimizer's figures."""
        if rollbacks != self._rollbacks:
            # NB: a scheduler can't be stepped back; it waits until the job has come to where it was.
            self._rollbacks, self._own, self._steps, self._others = rollbacks, 0, 0, 0
        self._own, self._steps = self._own + samples, self._steps + (samples > 0)
        # NB: what this worker has not pushed yet is its own, and not among the job's.
        self._others = max(self._others, job - self._own)
        total = self._own + self._others
        steps = steps_of(total, self._dataset, self._batch, self._steps, self._own)
        epochs = total // self._dataset if self._dataset else 0
        for number, each in enumerate(self._schedules):
            self._advance(number, each, each.due(steps, epochs))
        return self._handed.settings() if self._handed else []

    def _advance(self, number: int, each: Scheduled, due: int) -> None:
        total = getattr(each.scheduler, "total_steps", None)
        # NB: one whose end is fixed (OneCycleLR) raises beyond it, and the job may go on.
        due = due if total is None else min(due, total)
        # NB: a scheduler that is stepped before its optimizer warns of that; its steps may be made by the servers.
        each.scheduler.optimizer._opt_called = True  # type: ignore[attr-defined]
        while self._stepped[number] < due:
            each.scheduler.step()
            self._stepped[number] += 1
