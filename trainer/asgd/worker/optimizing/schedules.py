"""A task's schedulers (`Task.schedulers`), and how often each is due: a function of the job's samples, and of no loop.

With one worker they are stepped as in plain PyTorch, after each step or each epoch. With N workers each worker's own
copy goes by the samples of all, so that a schedule that is built for the whole training comes to its end with it; one
that joins late, or is started again, catches up at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from asgd.errors import AsgdError, UserError
from asgd.task import Task
from asgd.worker.users_code import sentence

STEP, EPOCH = INTERVALS = "step", "epoch"
_ALLOWED = (
    "allowed: a scheduler of torch.optim.lr_scheduler, or a list of them, each alone or as"
    ' {"scheduler": scheduler, "interval": "step" or "epoch", "frequency": 1}'
)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One scheduler; `frequency`: stepped each so many steps or epochs of the job."""

    scheduler: LRScheduler
    interval: str = STEP
    frequency: int = 1

    def due(self, steps: int, epochs: int) -> int:
        """How often it is to have been stepped after so many steps and whole epochs of the job."""
        return (epochs if self.interval == EPOCH else steps) // self.frequency


def schedules_of(task: Task, optimizer: torch.optim.Optimizer, entrypoint: str) -> list[Scheduled]:
    """What `Task.schedulers` makes of the optimizer. Raises UserError."""
    if task.schedulers is None:
        return []
    place = f"spec.entrypoint: {entrypoint}: Task.schedulers"
    try:
        given = task.schedulers(optimizer)
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever users' code raises is theirs to mend.
        raise UserError(f"{place} failed: {sentence(error)}") from error
    several = given if isinstance(given, list | tuple) else [given]
    return [_scheduled(each, optimizer, place) for each in several]


def _scheduled(given: Any, optimizer: torch.optim.Optimizer, place: str) -> Scheduled:
    told = given if isinstance(given, Mapping) else {"scheduler": given}
    strange = sorted(map(str, told.keys() - {"scheduler", "interval", "frequency"}))
    scheduler, interval, frequency = (
        told.get("scheduler"),
        told.get("interval", STEP),
        told.get("frequency", 1),
    )
    if isinstance(scheduler, ReduceLROnPlateau):
        raise UserError(
            f"{place}: ReduceLROnPlateau follows a metric, and metrics are measured beside the training; allowed: a"
            " scheduler that goes by steps or epochs"
        )
    if strange or not isinstance(scheduler, LRScheduler):
        what = f"has {strange[0]!r}" if strange else f"gave {type(scheduler).__name__}"
        raise UserError(f"{place} {what}; {_ALLOWED}")
    if (
        interval not in INTERVALS
        or isinstance(frequency, bool)
        or not isinstance(frequency, int)
        or frequency < 1
    ):
        raise UserError(f"{place}: interval {interval!r}, frequency {frequency!r}; {_ALLOWED}")
    if scheduler.optimizer is not optimizer:
        raise UserError(
            f"{place}: {type(scheduler).__name__} moves another optimizer than the one that the function was given"
        )
    return Scheduled(scheduler, interval, frequency)


def steps_of(samples: int, dataset: int | None, batch: int, own_steps: int, own_samples: int) -> int:
    """Steps that a loop alone would have made for so many samples of the job: with the short batch of each epoch.

    Of a stream nobody knows that; there a step is as large as this worker's own `own_steps` of `own_samples`.
    """
    if dataset is not None:
        epochs, rest = divmod(samples, dataset)
        return epochs * math.ceil(dataset / batch) + math.ceil(rest / batch)
    return samples * own_steps // own_samples if own_samples else 0
