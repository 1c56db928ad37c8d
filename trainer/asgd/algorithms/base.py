"""The one interface of all strategies: what a worker sends and when, how a shard folds it in, what comes back.

A strategy is a pair of small objects without sockets, files, clocks or torch. The worker's half sees the flat parameter
vector (a torch tensor there, a numpy array in the simulator), the server's half sees one shard's slice of it, chunk
by chunk. Both use only the in-place operators that numpy and torch share (`t[:] = g; t *= a; w += t`), so the same
bits come out of pods, processes, the simulator and a replay. Who calls: `server/shard.py` and `worker/replica.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asgd.kernel import F32
from asgd.spec.types import JobSpec

Vector = Any
"""A flat float32 vector of shape (n,): a numpy array, or a torch tensor on the worker's device."""


@dataclass(slots=True)
class Push:
    """One push as a shard sees it while it is applied, chunk by chunk."""

    worker: int
    sequence: int
    base: int
    """Version of this shard that the worker computed from."""
    staleness: int
    """Version at the first chunk's application minus `base`, in updates."""
    version: int
    """The version of this shard that the push makes, from 1: the same for all its chunks."""
    samples: int
    steps: int
    """Local steps since the last push."""
    """0 for weights that the strategy asked for: such a push is no update and counts nowhere."""
    loss: float | None = None
    rate: float = 0.0
    """Learning rate of this update after schedule and staleness; set when the push is admitted."""
    scale: float = 1.0
    """Factor that a staleness policy puts on the update."""
    meta: dict[str, float] = field(default_factory=dict)
    """Figures that the worker's half sent along (`WorkerStrategy.meta`)."""
    bare: bool = False
    """Came without a vector (`WorkerStrategy.outgoing` gave None): `apply` is not called for it."""
    part: int = 0
    parts: int = 1
    """It covers part number `part` of `parts` equal parts of the shard."""
    applied: int = 0
    """Elements of it that were applied before this chunk: 0 with the first one. Chunks come in no order to rely on."""


@dataclass(slots=True)
class Contribution:
    """One worker's share in a round as a shard holds it until the round closes: its push and vector (of its part)."""

    push: Push
    vector: F32
    complete: bool = False
    settled: bool = False
    """It is being measured: the round closes with it, whatever becomes of its worker."""


@dataclass(slots=True)
class ShardState:
    """What a shard holds: its slice of the centre and everything a strategy keeps beside it.

    weights: (n,) float32; slots: more (n,) float32 arrays by name (momentum, accumulators), saved with the checkpoint;
    clocks: {live worker that has data: pushes completed}; scratch: (chunk,) float32 that any call may overwrite.
    """

    weights: F32
    slots: dict[str, F32]
    scratch: F32
    start: int = 0
    """Its first element's place in the flat vector."""
    version: int = 0
    samples: int = 0
    workers: int = 1
    clocks: dict[int, int] = field(default_factory=dict)
    nodes: dict[int, str] = field(default_factory=dict)
    """{live worker: name of its machine, '' where unknown}"""
    dataset: int | None = None
    """Samples in one epoch; None for streams."""
    blocks: list[int] = field(default_factory=list)
    """Where the model's blocks (a module's own parameters) begin in the whole vector, and where the last one ends."""
    kept: dict[int, F32] = field(default_factory=dict)
    """An (n,) vector a worker that the strategy may keep; not saved, gone with the worker."""
    inbox: dict[int, Contribution] = field(default_factory=dict)
    """Contributions to the round that is open; not saved."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Small JSON-able memory of the strategy, saved with the checkpoint."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a worker does after a local step."""

    push: bool
    pull: bool


NOTHING = Turn(push=False, pull=False)


class ServerStrategy(ABC):
    """The shard's half. One instance a shard; holds no arrays of its own, they live in `ShardState.slots`."""

    slots: tuple[str, ...] = ()
    """Names of the full-size arrays it needs; each costs 4 bytes a parameter of the shard."""

    grows: str = ""
    """How the names of slots begin that it adds as it goes; they are saved and come back like the others."""

    pulls_wait: bool = False
    """True when a pull may be held back (`may_pull`): workers then push first and pull in a message of its own."""

    parts: int = 1
    """Into how many equal parts the shard is cut for pushes that are about one of them; as in `WorkerStrategy`."""

    rounds: bool = False
    """True for strategies that work in rounds (`rounds.py`): a push waits until every live worker has pushed."""

    bare: bool = False
    """True: takes pushes without a vector."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec

    def allocated(self, state: ShardState) -> None:  # noqa: B027  (zeros suit most)
        """The arrays of `state` have just been made, all zero; weights come later."""

    def admit(self, push: Push, state: ShardState) -> str:
        """Before a push's first chunk: '' accepts it, else the reason of the refusal. May set `push.scale`."""
        return ""

    @abstractmethod
    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        """Folds one chunk (`vector`, read-only, the elements `span` of the shard) into the state."""

    def factor(self, state: ShardState, push: Push) -> float | None:
        """The number a when `apply` is `weights += a * vector` and nothing more; None if it is not.

        Packed vectors can then be added as they are, without decoding them first. Who overrides `apply` must
        override this too.
        """
        return None

    def finish(self, state: ShardState, push: Push) -> None:  # noqa: B027  (most strategies need nothing here)
        """Called once after a push's last chunk."""

    def may_pull(self, state: ShardState, worker: int) -> bool:
        """False holds the worker's pull back until something changes."""
        return True

    def answer(self, state: ShardState, span: slice, worker: int) -> F32 | None:
        """The elements `span` of what `worker` pulls, None for nothing new; worker -1 asks for the job's answer."""
        return state.weights[span]

    def left(self, state: ShardState, worker: int) -> None:  # noqa: B027  (most keep nothing of a worker's own)
        """A worker is gone, or came back as a new one that knows nothing."""

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        """Figures that go with each reply to `worker` (`WorkerStrategy.notes`)."""
        return {}


def answers_weights(strategy: ServerStrategy) -> bool:
    """Whether everybody who pulls gets the shard's weights as they are: they may be read where they lie."""
    return type(strategy).answer is ServerStrategy.answer and strategy.parts == 1


class WorkerStrategy(ABC):
    """The worker's half: one instance a worker, called between steps on the worker's own vectors."""

    probes: int = 0
    """Samples of a fixed probe set that it wants to compare weights on by `judge`."""
    judge: Callable[[Vector], float]
    """The loss of weights (n,) on the probe set; set by who drives this object when `probes` is not 0."""
    parts: int = 1
    """Into how many equal parts each shard's slice is cut; an exchange is about part number `part`."""
    part: int = 0
    raw: bool = False
    """True: every step pushes the gradient as it is and pulls, without figures, and `step` does nothing. Such a push
    may leave while its gradient is still computed; `step`, `turn`, `outgoing` and `meta` are then not called."""
    delay: int = 0
    """Steps that an exchange may take before its answer is merged, after the last of them; 0: none is made."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.workers = 1
        """Live workers as the newest reply told; set by who drives this object."""
        self.dataset: int | None = None
        """Samples in one epoch; None for streams. Set before `joined`."""
        self.notes: dict[str, float] = {}
        """What the server's half said in its newest reply."""
        self.spans: list[slice] = []
        """The elements of `part`, one slice a shard; set before `incoming`."""

    def joined(self, w: Vector) -> None:  # noqa: B027  (gradient mode keeps nothing)
        """The centre has just been copied into `w` (n,) for the first time or after a reconnect."""

    @abstractmethod
    def step(self, w: Vector, g: Vector, rate: float) -> None:
        """After each backward pass: may move `w` by the gradient `g`; `rate` is the job-wide learning rate."""

    @abstractmethod
    def turn(self, step: int) -> Turn:
        """Whether to push and to pull after local step number `step` (from 1)."""

    @abstractmethod
    def outgoing(self, w: Vector, g: Vector) -> Vector | None:
        """The vector to push, None for a push of figures only; read before the next call of this object."""

    def meta(self) -> dict[str, float]:
        """Figures that go with the push that `outgoing` gives; asked for after it."""
        return {}

    @abstractmethod
    def incoming(self, w: Vector, pulled: Vector) -> None:
        """Merges what was pulled into `w`; not called when a shard had nothing new."""

    def follow(self) -> Turn:
        """After an exchange was merged, with its notes in place: whether another one follows at once."""
        return NOTHING

    def parting(self, w: Vector) -> Vector | None:
        """The job is over: what the servers still need of `w` for the job's answer, None for nothing."""
        return None
        """Merges what was pulled into `w`; with `parts` above 1 only `pulled[span] for span in spans` is new."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy as the registry knows it. `answer` says what the job's result is: centre | mean | best."""

    name: str
    server: Callable[[JobSpec], ServerStrategy]
    worker: Callable[[JobSpec], WorkerStrategy]
    answer: str = "centre"
    oracle: bool = False
    """Its rounds are judged by losses that the evaluator computes (`RoundServer.oracle`)."""
    fields: tuple[str, ...] = ()
    """Names of its own fields beside `algorithm.name`."""
