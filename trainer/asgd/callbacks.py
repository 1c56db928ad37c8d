"""What a task is told while it trains: `asgd.Task(callbacks=[...])`, and the values that callbacks are given.

Callbacks look; they do not train. They run without gradients, and random numbers, training mode and weights are the
same after them as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

ON_START, ON_STEP, ON_EVALUATE, ON_CHECKPOINT, ON_END = METHODS = (
    "on_start",
    "on_step",
    "on_evaluate",
    "on_checkpoint",
    "on_end",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What all callbacks are told. Counts are those of the whole job, as far as this process knows them."""

    job: str
    """Its name."""
    model: nn.Module
    """This process's own copy, with the weights of the moment; to be read, not to be written."""
    worker: int | None
    """Index of this worker; None in the evaluator."""
    workers: int
    """How many workers the job has now."""
    updates: int
    """Version of shard 0 in the newest weights that this process has pulled: accepted pushes, or rounds of strategies
    that work in rounds."""
    samples: int
    """In accepted pushes."""
    epochs: float | None
    """Passes over the data; None for streams, which have no size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Moment):
    """A worker has joined and has the job's weights; its first batch comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Moment):
    """A worker has computed a batch, and what the strategy does with it is done or under way."""

    step: int
    """Number of this worker's step, from 1; a worker that is started again begins anew."""
    loss: float | None
    """Of the batch, on the weights before the step."""
    learning_rate: float
    """The job's, now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Moment):
    """The evaluator has measured the job's answer, which `model` holds."""

    metrics: dict[str, float]
    """What `evaluate` returned."""
    final: bool
    """Training is over; it is the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Moment):
    """A checkpoint of the job is complete. NB: `model` is what was measured last, not what was saved."""

    uri: str
    """Where it lies."""
    saved_updates: int
    """That it holds."""
    bytes: int
    """Its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Moment):
    """This process leaves the job in order: once in each worker, once in the evaluator after its last evaluation."""

    reason: str
    """As `stopReason` in summary.json; "drained" for a worker that was told to leave while the job goes on; empty where
    a worker gets no more data and has not heard why."""


class Callback:
    """Base of callbacks: override what you need. Any object that has some of these methods will do as well.

    `on_start`, `on_step` and `on_end` are called in each worker; `on_evaluate`, `on_checkpoint` and `on_end` in the
    evaluator, which is one process a job. A task without `evaluate` has no evaluator, so nobody calls `on_evaluate` and
    `on_checkpoint` then. `asgd simulate`, `asgd replay` and the check before the start call none.
    """

    def on_start(self, start: Start) -> None:
        """In each worker, before its first batch; again when the worker is started again."""

    def on_step(self, step: Step) -> None:
        """In each worker, after each step. Training waits for it."""

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """In the evaluator, after each evaluation that gave metrics."""

    def on_checkpoint(self, checkpoint: Checkpoint) -> None:
        """In the evaluator, after each checkpoint, the job's last one included; it looks once a second.

        What `checkpoint.keep` has removed before the evaluator could look is not told. One that is started again is
        told again what the store holds then.
        """

    def on_end(self, end: End) -> None:
        """In each worker and in the evaluator, when it leaves in order; not when it fails."""
