"""The learning rate as a function of the job-wide count of samples (algorithms.md section 11).

A worker's own steps never count: a slow pod would train at another rate than its peers. A job that has gone back to a
checkpoint goes on at a smaller rate, which depends on nothing but how often it has.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from asgd.algorithms.base import WorkerStrategy
from asgd.errors import UserError
from asgd.spec.models import JobOfModels
from asgd.spec.types import JobSpec, Optimizer, Schedule


def learning_rate(optimizer: Optimizer, samples: int, dataset: int | None) -> float:
    """The rate after `samples` samples of the whole job; `dataset` is an epoch's size, None for streams."""
    schedule = optimizer.schedule
    if schedule.name == "constant" and not schedule.warmup:
        return optimizer.learning_rate
    position = _position(schedule, samples, dataset)
    if position < schedule.warmup:
        return optimizer.learning_rate * position / schedule.warmup
    return optimizer.learning_rate * _factor(schedule, position - schedule.warmup)


def rate_factor(spec: JobSpec, rollbacks: int) -> float:
    """What the learning rate is multiplied by after so many rollbacks."""
    return spec.rollback.rate_factor**rollbacks


def slowed(spec: JobSpec, rollbacks: int) -> JobSpec:
    """`spec` with the learning rate that is left after so many rollbacks."""
    if not rollbacks:
        return spec
    factor = rate_factor(spec, rollbacks)
    if isinstance(spec, JobOfModels):
        models = (replace(own, optimizer=_slower(own.optimizer, factor)) for own in spec.models)
        spec = replace(spec, models=tuple(models))
    return replace(spec, optimizer=_slower(spec.optimizer, factor))


def _slower(optimizer: Optimizer, factor: float) -> Optimizer:
    groups = tuple(
        # Multiples follow the optimizer's rate.
        replace(group, learning_rate=group.learning_rate * factor)
        if isinstance(group.learning_rate, float)
        else group
        for group in optimizer.groups
    )
    return replace(optimizer, learning_rate=optimizer.learning_rate * factor, groups=groups)


def of_rule(spec: JobSpec, rule: WorkerStrategy) -> JobSpec:
    """`spec` as `rule` steps by it: with learning rate 1 where its optimizer has rates of its own."""
    if rule.optimizer is None or not rule.optimizer.relative:
        return spec
    if isinstance(spec, JobOfModels):
        models = (replace(own, optimizer=replace(own.optimizer, learning_rate=1.0)) for own in spec.models)
        spec = replace(spec, models=tuple(models))
    return replace(spec, optimizer=replace(spec.optimizer, learning_rate=1.0))


def _position(schedule: Schedule, samples: int, dataset: int | None) -> float:
    if schedule.unit == "samples":
        return float(samples)
    if dataset is None:
        raise UserError(
            "spec.optimizer.schedule.unit: epochs needs data of a known size, and this entrypoint's data is a stream;"
            " allowed here: samples"
        )
    return samples / dataset


def _factor(schedule: Schedule, position: float) -> float:
    match schedule.name:
        case "step":
            return float(schedule.gamma ** math.floor(position / schedule.every))
        case "exponential":
            return float(schedule.gamma ** (position / schedule.every))
        case "linear" | "cosine":
            done = min(1.0, position / max(schedule.length - schedule.warmup, 1e-9))
            shape = 1 - done if schedule.name == "linear" else 0.5 * (1 + math.cos(math.pi * done))
            return schedule.final + (1 - schedule.final) * shape
        case _:
            return 1.0
