"""What a worker's core wishes for and what it is given: the contract between `core.py` and whoever drives it.

The core yields one of these objects, the driver carries it out and sends the answer in. A driver in real time has
threads and sockets, the simulator a clock and a network model, a replay its tape. `resume` is the loop of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from asgd.algorithms.base import Vector
from asgd.errors import TryAgain
from asgd.kernel import F32
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.sending.headers import Outcome, PushHeader

Following = Callable[[int, int, int], list[dict[str, float]]]
"""Moves the figures of a task's own optimizer; gives what the next push says of them. It is told the samples of this
worker's step (0: there was none), those of the job, and how often the job has gone back."""


@dataclass(slots=True)
class Join:
    """Say hello to every shard; answered, when all have weights, by why the job is over ('' while it runs)."""


@dataclass(slots=True)
class Exchange:
    """Begin to push and to pull: one round trip to every shard, waited for by `Await`. No answer.

    `push`: the (N,) float32 vector, left alone until the exchange is over; None pushes nothing, or figures only
    (`meta.bare`). `pull`: the weights are wanted, and are `Vectors.landed` then.
    """

    push: F32 | None
    pull: bool
    meta: PushHeader


@dataclass(slots=True)
class Await:
    """The exchange under way; answered by its `Outcome`, or None where the gradient had not left after all."""


@dataclass(slots=True)
class Next:
    """The next batch; answered by a LeasedBatch, WAIT (none now), or None (no more)."""


@dataclass(slots=True)
class Compute:
    """The gradient of `item` at `Vectors.weights`, into `Vectors.gradient`; answered by `Computed`."""

    item: LeasedBatch


@dataclass(slots=True)
class Computed:
    """A gradient's batch had the mean `loss`; `left`: it is on its way already, for `WorkerCore.early` was asked."""

    loss: float | None
    left: bool = False


@dataclass(slots=True)
class Sleep:
    """Go on after so many seconds. No answer."""

    seconds: float


@dataclass(slots=True)
class Leave:
    """Say goodbye to every shard. No answer."""

    reason: str


Wish = Join | Exchange | Await | Next | Compute | Sleep | Leave
Result = TypeVar("Result")
Life = Generator[Wish, Any, Result]
"""What a driver drives: it ends with a result."""

JOIN, AWAIT, NEXT = Join(), Await(), Next()


class Later(Enum):
    """The answer to a wish that comes as time goes on."""

    LATER = "later"


LATER = Later.LATER


def resume(
    life: Life[Result], ways: Mapping[type[Wish], Callable[[Any], Any]], answer: Any = None
) -> Result | Later:
    """Sends `answer` in and carries out what the life wishes for, by type; until it ends (its result) or LATER comes.

    TryAgain out of a way is thrown into the life; whatever else one raises, is raised.
    """
    failed: TryAgain | None = None
    try:
        while answer is not LATER:
            wish = life.throw(failed) if failed else life.send(answer)
            failed = None
            try:
                answer = ways[type(wish)](wish)
            except TryAgain as error:
                answer, failed = None, error
    except StopIteration as end:
        result: Result = end.value
        return result
    return Later.LATER


class Vectors(Protocol):
    """A worker's flat vectors, (N,) float32: torch tensors on its device, or numpy arrays in the simulator."""

    @property
    def size(self) -> int:
        """Parameters of the model, N."""

    @property
    def weights(self) -> Vector:
        """What gradients are taken at."""

    @property
    def gradient(self) -> Vector:
        """That of the newest batch, as `gather` has left it."""

    def gather(self) -> Vector:
        """The gradient that was just computed, whole."""

    def norm(self, vector: Vector) -> float:
        """Its Euclidean length."""

    def finite(self, vector: Vector) -> bool:
        """Whether it holds neither inf nor nan."""

    def leaving(self, vector: Vector) -> F32:
        """Its values in host memory, where the next step does not change them while they are on their way."""

    def landed(self) -> Vector:
        """What the newest pull brought, where the model is; valid until the next exchange."""


class Observer:
    """Told what a worker does, for its metrics; this one listens to nothing."""

    gradient_norm: float | None = None

    def step(self, samples: int, loss: float | None) -> None:
        """A step over `samples` samples is done."""

    def dropped(self) -> None:
        """A batch was left out, for its loss or gradient was not finite."""

    def scalars(self) -> dict[str, float]:
        """What the loss function has returned beside the loss since the last push, as means."""
        return {}

    def exchanged(self, outcome: Outcome) -> None:
        """An exchange came back."""
