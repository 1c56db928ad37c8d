"""The one interface of all strategies: what a worker sends and when, how a shard applies it, what comes back.

A strategy is a pair of small objects without sockets, files, clocks or torch. The worker's half works on the whole flat
parameter vector: a torch tensor in a worker process, a numpy array in the simulator. The server's half works on one
shard's slice of that vector, chunk by chunk. Both halves use only the in-place operators that numpy and torch share
(`t[:] = g; t *= a; w += t`). So the same bits come out of pods, processes, the simulator and a replay.

The life of one push, in time order; each step names the method that is called:

1. The worker computes a gradient. `WorkerStrategy.step` may move the weights by it. `turn` says whether to push and
   pull now.
2. To push, the worker sends what `outgoing` gives, with the figures of `meta`.
3. The first chunk reaches a shard. `ServerStrategy.admit` accepts the push or gives the reason of its refusal.
4. Each chunk is applied on arrival by `apply`. After the last chunk `finish` is called once.
5. To pull, the shard sends what `answer` gives, with the figures of `notes`. `may_pull` may hold the pull back first.
6. The worker merges what came by `incoming`. `follow` says whether another exchange comes at once.

`server/shard.py` and `worker/core.py` call these methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec.structs import replace

from asgd.algorithms.hyper import HyperParameters
from asgd.algorithms.optimizers import LocalOptimizer
from asgd.kernel import F32
from asgd.spec.types import JobSpec, Optimizer

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
    """Local steps since the last push. 0 for weights that the strategy asked for: such a push is no update, and nothing
    counts it."""
    loss: float | None = None
    rate: float = 0.0
    """Learning rate of this update after schedule and staleness; set when the push is admitted."""
    scale: float = 1.0
    """Factor that a staleness policy puts on the update."""
    meta: dict[str, float] = field(default_factory=dict)
    """Figures that the worker's half sent along (`WorkerStrategy.meta`)."""
    bare: bool = False
    """True when it came without a vector (`WorkerStrategy.outgoing` gave None). `apply` is not called then."""
    part: int = 0
    parts: int = 1
    """It covers part number `part` of `parts` equal parts of the shard."""
    largest: float = 0.0
    """Magnitude of the largest element that has come."""
    applied: int = 0
    """Elements of this push that were applied before this chunk; 0 at its first chunk. Chunks may come in any order."""


@dataclass(slots=True)
class Contribution:
    """One worker's share in a round as a shard holds it until the round closes: its push and vector (of its part)."""

    push: Push
    vector: F32
    complete: bool = False
    settled: bool = False
    """True while it is measured: the round then closes with it, also when its worker has gone."""


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
    missed: int = 0
    """1 where the push that ends counts and has moved nothing, since its first chunks went with a restart."""
    models: list[int] = field(default_factory=list)
    """Updates of each model where several have steps of their own (`models.py`); empty: there is one model."""
    blocks: list[int] = field(default_factory=list)
    """Where the model's blocks (a module's own parameters) begin in the whole vector, and where the last one ends."""
    kept: dict[int, F32] = field(default_factory=dict)
    """{worker: (n,) vector} that the strategy may keep. Not saved; removed when the worker is gone."""
    inbox: dict[int, Contribution] = field(default_factory=dict)
    """Contributions to the round that is open; not saved."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Small values of the strategy that JSON can hold; saved with the checkpoint."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a worker does after a local step."""

    push: bool
    pull: bool


NOTHING = Turn(push=False, pull=False)


class ServerStrategy(ABC):
    """The shard's half, one instance a shard. It holds no arrays of its own: they live in `ShardState.slots`."""

    slots: tuple[str, ...] = ()
    """Names of the full-size arrays it needs; each costs 4 bytes a parameter of the shard."""

    grows: str = ""
    """The first letters of the names of slots that it adds later. Such slots are saved and restored like the others."""

    figures: tuple[str, ...] = ()
    """Names of the figures (`Push.meta`) that it needs of each push. A push without them is refused before `admit`."""

    pulls_wait: bool = False
    """True when `may_pull` may hold a pull back. Workers then push first, and pull by a second message."""

    parts: int = 1
    """Into how many equal parts the shard is cut when a push is about one part only; as in `WorkerStrategy`."""

    edges: Sequence[int] = ()
    """Where the parts begin in the flat vector, and the last one ends, if they are several models (`models.py`)."""

    rounds: bool = False
    """True for strategies that work in rounds (`rounds.py`): a push waits until every live worker has pushed."""

    bare: bool = False
    """True when it accepts pushes without a vector."""

    whole: bool = False
    """True when it moves whole tensors: shards are then cut where tensors end (`gathering.py`)."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self._brought = spec.optimizer
        self.hyper = HyperParameters(spec.optimizer)
        """What holds where; laid out before the first push."""

    @property
    def laid_out(self) -> bool:
        """Whether `hyper` knows what holds where."""
        return self.hyper.laid_out

    def lay_out(self, tensors: Iterable[tuple[str, int]]) -> None:
        """The whole model has `tensors`, (name, elements) in flat order. Raises UserError where a group has none."""
        self.hyper.lay_out(tensors)

    def describe(self, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:  # noqa: B027  (few look at tensors)
        """The whole model's tensors, (name, shape) in flat order; told before the first push."""

    def allocated(self, state: ShardState) -> None:  # noqa: B027  (zeros suit most)
        """The arrays of `state` have just been made, all zero. The weights come later."""

    def brought(self, part: int) -> Optimizer:
        """The optimizer of what a push of `part` moves, as it was before any `follow`."""
        return self._brought

    def follow_in(self, part: int, rule: Optimizer) -> None:
        """`follow` for what a push of `part` moves."""
        self.follow(rule)

    def follow(self, rule: Optimizer) -> None:
        """From now on `spec.optimizer` is `rule`: the same one with other figures, as a script's scheduler sets them.

        A class that keeps something made of `spec.optimizer` makes it anew.
        """
        self.spec = replace(self.spec, optimizer=rule)
        self.hyper = self.hyper.moved(rule)

    def expect(self, workers: int) -> None:
        """From now on the job wants so many workers: `spec.workers.replicas` has changed."""
        self.spec = replace(self.spec, workers=replace(self.spec.workers, replicas=workers))

    def admit(self, push: Push, state: ShardState) -> str:
        """Called before a push's first chunk. Returns '' to accept the push, else the reason of its refusal.

        May set `push.scale` and `push.rate`.
        """
        return ""

    @abstractmethod
    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        """Applies one chunk to the state. `vector` (read-only) holds the elements `span` of the shard."""

    def factor(self, state: ShardState, push: Push) -> float | None:
        """The number a when `apply` is `weights += a * vector` and nothing more, else None.

        With a number, packed vectors are added as they are, without decoding them first. A class that overrides
        `apply` must override this method too.
        """
        return None

    def finish(self, state: ShardState, push: Push) -> None:  # noqa: B027  (most strategies need nothing here)
        """Called once after a push's last chunk."""

    def may_pull(self, state: ShardState, worker: int) -> bool:
        """Whether the worker's pull may be answered now. After False it is asked again at the next change."""
        return True

    def answer(self, state: ShardState, span: slice, worker: int) -> F32 | None:
        """The elements `span` of what `worker` pulls; None when there is nothing new. Worker -1 is whoever asks for the
        job's answer."""
        return state.weights[span]

    def left(self, state: ShardState, worker: int) -> None:  # noqa: B027  (most keep nothing of a worker's own)
        """A worker is gone, or a new process has taken its index and knows nothing of before."""

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        """Figures that go with each reply to `worker` (`WorkerStrategy.notes`)."""
        return {}

    def tells(self, state: ShardState) -> dict[str, float]:
        """What shard 0 tells people of the strategy itself, {camelCase name: figure}: in the status, the summary and
        the metrics."""
        return {}


def answers_weights(strategy: ServerStrategy) -> bool:
    """Whether everybody who pulls gets the shard's weights as they are: they may be read where they lie."""
    return type(strategy).answer is ServerStrategy.answer and strategy.parts == 1


class LocalRule(Protocol):
    """How a worker steps on its own between exchanges, and the state (momentum) that it keeps for that."""

    relative: bool
    """True: it has learning rates of its own, and the `rate` of a step is a factor on them (schedule, rollbacks)."""

    def step(self, w: Vector, g: Vector, rate: float, scratch: Vector) -> None:
        """Moves w (n,) by gradient g (n,); may overwrite scratch (n,)."""

    def forget(self) -> None:
        """Starts anew from weights that others trained."""

    def learning_rate(self, rate: float) -> float:
        """The learning rate of a step that is given `rate`."""


class WorkerStrategy(ABC):
    """The worker's half: one instance a worker, called between steps on the worker's own vectors."""

    optimizer: LocalRule | None = None
    """What moves the weights in `step` where that is a plain step by a gradient. Whoever drives this object may put
    another rule in its place before `joined` is called. None: servers apply the gradients, or see `own_rule`."""
    own_rule: str = ""
    """What a step is where it is no plain one, in words: nothing may be put in its place."""

    probes: int = 0
    """How many samples of a fixed probe set it needs to compare weights by `judge`; 0: none."""
    judge: Callable[[Vector], float]
    """Gives the loss of weights (n,) on the probe set. The driver of this object sets it when `probes` is not 0."""
    parts: int = 1
    """Into how many equal parts each shard's slice is cut; an exchange is about part number `part`."""
    part: int = 0
    edges: Sequence[int] = ()
    """As in `ServerStrategy`: `part` is then the number of the model that the step is of, and `span` its elements."""
    span: slice = slice(None)
    raw: bool = False
    """True when every step pushes the gradient as it is and pulls, without figures, and `step` does nothing. Such a
    push may leave while its gradient is still computed; `step`, `turn`, `outgoing` and `meta` are then not called."""
    keeps_changes: bool = False
    """True when what others write into the worker's weights between two steps is part of what it pushes next. False:
    the next pull undoes it."""
    delay: int = 0
    """How many local steps the worker makes while an exchange is under way. Its answer is merged after the last of
    them. 0: the worker waits for the answer."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.hyper = HyperParameters(spec.optimizer)
        """What holds where; laid out before `joined`."""
        self.workers = 1
        """Live workers, as the newest reply said. The driver of this object sets it."""
        self.dataset: int | None = None
        """Samples in one epoch; None for streams. Set before `joined`."""
        self.notes: dict[str, float] = {}
        """What the server's half said in its newest reply."""
        self.spans: list[slice] = []
        """The elements of `part`, one slice a shard. Set before `incoming` is called."""

    def lay_out(self, tensors: Iterable[tuple[str, int]]) -> None:
        """As in `ServerStrategy`."""
        self.hyper.lay_out(tensors)

    def describe(self, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:
        """The model's tensors, (name, shape) in flat order. Called once, before `joined`."""
        # NB: a strategy of others may call something else its optimizer.
        if isinstance(self.optimizer, LocalOptimizer):
            self.optimizer.lay_out(tensors)

    def joined(self, w: Vector) -> None:  # noqa: B027  (gradient mode keeps nothing)
        """The centre has just been copied into `w` (n,): the worker begins, or begins anew because its own weights were
        not finite any more. Nothing of before may stay, momentum included."""

    @abstractmethod
    def step(self, w: Vector, g: Vector, rate: float) -> None:
        """Called after each backward pass. May move `w` by the gradient `g`; `rate` is the job's learning rate now."""

    @abstractmethod
    def turn(self, step: int) -> Turn:
        """Whether to push and to pull after local step number `step` (from 1)."""

    @abstractmethod
    def outgoing(self, w: Vector, g: Vector) -> Vector | None:
        """The vector to push, or None for a push of figures only. It is read before the next call of this object."""

    def meta(self) -> dict[str, float]:
        """Figures that go with the push. Called after `outgoing`.

        Each is finite and at most 2^53 in magnitude: a push with another is refused. Leave out what has no value.
        """
        return {}

    @abstractmethod
    def incoming(self, w: Vector, pulled: Vector) -> None:
        """Merges what was pulled into `w`. Not called when a shard had nothing new.

        With `parts` above 1 only `pulled[span] for span in spans` is new.
        """

    def follow(self) -> Turn:
        """Called when an exchange was merged and its notes are in place. Says whether another one follows at once."""
        return NOTHING

    def parting(self, w: Vector) -> Vector | None:
        """Called when the job is over. Returns what the servers still need of `w` for the job's answer, or None."""
        return None


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy as the registry knows it. `answer` says what the job's result is: centre | mean | best."""

    name: str
    server: Callable[[JobSpec], ServerStrategy]
    worker: Callable[[JobSpec], WorkerStrategy]
    answer: str = "centre"
    oracle: bool = False
    """Its rounds are judged by losses that the evaluator computes (`RoundServer.oracle`)."""
    majority: bool = False
    """It computes with `spec.workers.replicas`, as with a majority of them; so a recording needs that live field."""
    fields: tuple[str, ...] = ()
    """Names of its own fields beside `algorithm.name`."""
    groups: bool = False
    """Of others' packages: its halves go by `hyper`, so that jobs may have `optimizer.groups`. Ours all do."""
    counts: str = ""
    """What more workers bring, for advice on their number. `samples`: each further sample is worth as much. `fewer`:
    pushes are shrunk by their age, so only fewer can be advised. '': their number is a part of the method, or may be;
    nothing is advised."""
    models: bool = False
    """Its halves may serve each of several models of a job by itself (`models.py`): they work in no rounds, tell
    workers the weights, and no figures that are of one of the models."""
