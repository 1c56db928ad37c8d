"""What a logger writes to: the contract of `to_tensorboard`, `to_mlflow` and `to_wandb`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from asgd.loggers.points import Point
from asgd.spec.types import Job, JobSpec


@dataclass(frozen=True, slots=True)
class Place:
    """Whose series these are."""

    name: str
    """Of the run: its output folder's, or the job's."""
    folder: Path
    """Where files go by default."""
    job: str
    id: str
    """The same for all starts of the run's logger."""
    config: dict[str, Any] = field(default_factory=dict)
    """What a person compares runs by."""


class Sink(Protocol):
    """Raises whatever its library raises; it is opened anew then."""

    highest: int
    """The most updates that it knows to be logged; -1 for who can't tell."""
    undoes: bool
    """It can take points back. Others are not given those again that they have."""

    def back(self, updates: int) -> None:
        """Points above `updates` are void."""

    def write(self, points: Sequence[tuple[float, Point]]) -> None:
        """Writes points (seconds since 1970, point) for good: they are not given again."""

    def close(self, stop_reason: str) -> None:
        """Ends the run, or this part of it."""


def config_of(job: Job) -> dict[str, Any]:
    """The few fields of a job that runs differ in."""
    spec: JobSpec = job.spec
    return {
        "job": job.name,
        "entrypoint": spec.entrypoint,
        **{f"algorithm.{name}": value for name, value in spec.algorithm.items()},
        **{f"args.{name}": value for name, value in spec.args.items()},
        "optimizer.name": spec.optimizer.name,
        "optimizer.learningRate": spec.optimizer.learning_rate,
        "optimizer.momentum": spec.optimizer.momentum,
        "optimizer.weightDecay": spec.optimizer.weight_decay,
        "batchSize": spec.batch_size,
        "seed": spec.seed,
        "workers": spec.workers.replicas,
        "shards": spec.parameter_server.shards,
    }
