"""Every option across every strategy, on a problem that costs nothing and has a known answer.

A cell is one job in virtual time: a strategy with one or two options more than its plain twin. The problem is least
squares with minibatches from leased data; what a cell has `left` is the part of the first excess loss that is still
there at the end, measured against the minimum that the job itself asks for (weight decay moves it). It trains when
that is within the noise of its twin, and servers took its pushes. What the API refuses is refused by the sentence of
`asgd validate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from asgd.algorithms.base import WorkerStrategy
from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.server.saves.in_process import MemoryStore
from asgd.spec.problems import JobError
from asgd.worker.reading.leased import Lease, LeasedBatch, Waiting
from asgd.worker.reading.order import epoch_order
from asgd.worker.shared import NextLease
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.virtual import job

SIZE, SAMPLES, BATCH, EPOCHS, WORKERS = 48, 256, 8, 24, 4
STEP_SECONDS = 0.1
HALF_SECONDS = EPOCHS * SAMPLES / BATCH / WORKERS * STEP_SECONDS / 2
"""When a job is about half done."""
BOUND_SECONDS = 8 * HALF_SECONDS
"""A job that takes longer, in virtual time, waits for what never comes."""
DECAY = 0.2
NOISE_FACTOR, NOISE_LEFT = 5.0, 0.02
"""A cell trains with at most so many times what its twin has left, or so little that it is noise."""
MOST_REFUSED = 0.2
"""Pushes that servers may refuse, by those that they take."""

Fields = dict[str, Any]


class Squares:
    """Least squares of `SAMPLES` rows by (SIZE,) weights, by leased batches. `poison`: that gradient is nan, once."""

    layout, guarantee = "squares", ""
    size, dataset = SIZE, SAMPLES
    tensors = b'[["a.weight", [4, 4]], ["b.weight", [32]]]'

    def __init__(self, seed: int = 0, poison: int | None = None) -> None:
        random = np.random.default_rng([0xC205, seed])
        scales = np.linspace(0.6, 1.4, SIZE)
        self.rows = (random.standard_normal((SAMPLES, SIZE)) * scales).astype(np.float32)
        truth = random.standard_normal(SIZE)
        self.aims = (self.rows @ truth + 0.3 * random.standard_normal(SAMPLES)).astype(np.float32)
        self.seed, self._poison, self._computed = seed, poison, 0

    def initial(self) -> F32:
        return np.zeros(SIZE, np.float32)

    def open(self, worker: int, lease: NextLease) -> Drawn:
        return Drawn(self.seed, lease)

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        rows = self.rows[item.batch]
        rest = rows @ weights - self.aims[item.batch]
        np.matmul(rest, rows, out=out)
        out /= np.float32(len(rest))
        self._computed += 1
        if self._computed == self._poison:
            out[3] = np.nan
        return float(rest @ rest) / 2 / len(rest)

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> None:
        return

    def judge(self, worker: int, weights: F32) -> float:
        return self.loss(weights, slice(0, 64))

    def evaluate(self, weights: F32) -> dict[str, float]:
        return {}

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        start = version * 16 % SAMPLES
        return [self.loss(point, slice(start, start + 16)) for point in points]

    def loss(self, weights: F32, span: slice, decay: F32 | float = 0.0) -> float:
        """The mean loss of some samples, and `decay` (SIZE,) / 2 times the square of each weight."""
        rest = self.rows[span] @ weights - self.aims[span]
        return float(rest @ rest) / 2 / len(rest) + float(np.sum(decay * weights * weights)) / 2

    def left(self, weights: F32, decay: F32 | float) -> float:
        """The part of the excess loss at the start that is still there at `weights`; inf for what is no number.

        `decay`: as `loss` has it.
        """
        if not np.isfinite(weights).all():
            return float("inf")
        rows = self.rows.astype(np.float64)
        curvature = rows.T @ rows / SAMPLES + np.diag(np.broadcast_to(decay, SIZE))
        best = np.linalg.solve(curvature, rows.T @ self.aims / SAMPLES).astype(np.float32)
        least, everything = self.loss(best, slice(None), decay), slice(None)
        first = self.loss(self.initial(), everything, decay)
        return (self.loss(weights, everything, decay) - least) / (first - least)


class Drawn:
    """Batches of leased ranges, in the epoch's shuffled order."""

    def __init__(self, seed: int, lease: NextLease) -> None:
        self._seed, self._lease = seed, lease
        self._open: Lease | None = None

    def next(self) -> LeasedBatch | Waiting | None:
        if self._open is None:
            lease = self._lease()
            if lease is None or isinstance(lease, Waiting):
                return lease
            self._open = lease
        epoch, start, stop = self._open
        last = min(start + BATCH, stop)
        self._open = (epoch, last, stop) if last < stop else None
        rows = epoch_order(self._seed, epoch, SAMPLES)[start:last]
        return LeasedBatch(rows, last - start, ((epoch, start, last),))

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item


# -- strategies and options --------------------------------------------------------------------------------------------

STRATEGIES: dict[str, Fields] = {
    "asgd": {"optimizer": {"learningRate": 0.05}},
    "asgd, delta": {
        "algorithm": {"name": "asgd", "deltaScale": "mean"},
        "exchange": {"pushEvery": 4, "fetchEvery": 4},
        "optimizer": {"learningRate": 0.05},
    },
    "downpour": {"optimizer": {"learningRate": 0.2}},
    "staleness-aware": {"optimizer": {"learningRate": 0.1}},
    "dc-asgd": {"optimizer": {"learningRate": 0.05}},
    "fasgd": {"optimizer": {"learningRate": 0.05}},
    "ssp": {"optimizer": {"learningRate": 0.05}},
    "sync": {"optimizer": {"learningRate": 0.2}},
    "easgd": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.1}},
    "eamsgd": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.05, "momentum": 0.5}},
    "local-sgd": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.1}},
    "diloco": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.05}},
    "async-diloco": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.05}},
    "streaming-diloco": {
        "algorithm": {"period": 4, "fragments": 2}, "optimizer": {"learningRate": 0.05}
    },
    "elastic": {"optimizer": {"learningRate": 0.1}},
    "entropy": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.1}},
    "parle": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.1}},
    "lsgd": {"algorithm": {"period": 4}, "optimizer": {"learningRate": 0.05}},
    "lsgd, two groups": {
        "algorithm": {"period": 4, "globalPeriod": 8, "groups": 2}, "optimizer": {"learningRate": 0.1}
    },
    "neuroevolution": {"algorithm": {"period": 8, "mutation": 0.001}, "optimizer": {"learningRate": 0.05}},
    "safeguard": {"optimizer": {"learningRate": 0.2}},
    "krum": {"optimizer": {"learningRate": 0.05}, "workers": {"replicas": 5}},
    "median": {"optimizer": {"learningRate": 0.1}},
    "geometric-median": {"optimizer": {"learningRate": 0.1}},
    "zeno": {"optimizer": {"learningRate": 0.1}},
}  # fmt: skip
"""The plain twins, by name: what they have beside the defaults."""


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that a job may have: fields of its spec, or something that happens to it."""

    name: str
    fields: tuple[tuple[str, Any], ...] = field(default=(), hash=False)
    """(dotted path, value)"""
    late: bool = False
    """Worker 1 joins when the job is half done."""
    resumed: bool = False
    """All processes end half-way, and others go on from the checkpoint."""
    poisoned: bool = False
    """One gradient is nan."""

    @property
    def kind(self) -> str:
        """Two options of a kind exclude each other."""
        return self.name.split()[0]

    @property
    def rule(self) -> bool:
        """Another optimizer."""
        return self.kind == "optimizer"


GROUPS = [{"match": "a.*", "learningRate": "0.5x"}, {"match": "*.weight", "weightDecay": 0}]
UNDECAYED = slice(16, SIZE)
"""The elements of the second group: what no earlier group has."""
GENERAL = [
    Option("codec bf16", (("codec.push", "bf16"),)),
    Option("codec fp16", (("codec.push", "fp16"),)),
    Option("codec int8", (("codec.push", "int8"),)),
    Option("codec topk", (("codec.push", "topk"), ("codec.topRatio", 0.25))),
    Option("codec onebit", (("codec.push", "onebit"), ("codec.blockSize", 16))),
    Option("ahead 1", (("exchange.ahead", 1),)),
    Option("clipNorm", (("optimizer.clipNorm", 4.0),)),
    Option("weightDecay", (("optimizer.weightDecay", DECAY),)),
    Option(
        "schedule",
        (
            ("optimizer.schedule.name", "cosine"),
            ("optimizer.schedule.length", EPOCHS),
            ("optimizer.schedule.final", 0.1),
        ),
    ),
    Option("resume", resumed=True),
    Option("late join", late=True),
    Option("shards 3", (("parameterServer.shards", 3),)),
    Option("one NaN", poisoned=True),
    Option("groups", (("optimizer.groups", GROUPS),)),
    Option("average", (("evaluation.ema", 0.9),)),
]


def _optimizer(name: str, rate: float, **own: Any) -> Option:
    fields = {"name": name, "learningRate": rate, **own}
    # Normalised steps stay as long as the rate says: it must fall for them to come to rest.
    falling = {"name": "linear", "length": EPOCHS, "final": 0.02}
    return Option(
        f"optimizer {name}",
        tuple((f"optimizer.{key}", value) for key, value in (fields | {"schedule": falling}).items()),
    )


OPTIMIZERS = [
    _optimizer("adagrad", 0.3),
    _optimizer("adam", 0.05),
    _optimizer("adamw", 0.05, weightDecay=0),
    _optimizer("lion", 0.02),
    _optimizer("rmsprop", 0.05),
    _optimizer("adadelta", 20.0),
    _optimizer("lamb", 0.05, weightDecay=0),
    _optimizer("muon", 0.05, weightDecay=0),
]
OPTIONS = [*GENERAL, *OPTIMIZERS]
MET_BY_OPTIMIZERS = ("groups", "resume", "shards 3")
"""What goes about with what a rule remembers: each optimizer meets these too."""
DECOUPLED = ("adamw", "lion", "lamb", "muon")
"""Their weight decay is no part of the loss that they minimise."""
OPTIMIZERS_LEFT = 0.35
"""What a cell with another optimizer may have left: it shows that the rule trains there, not how well it was tuned."""
AMPLIFYING = 4.0
"""By so much smaller is the rate where an outer momentum of 0.9 multiplies what workers come by."""
LAGGING = 4.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A strategy with some options."""

    strategy: str
    options: tuple[Option, ...] = ()

    def __str__(self) -> str:
        return f"{self.strategy}: {' + '.join(option.name for option in self.options) or 'plain'}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell."""

    left: float = 0.0
    bound: float = 0.0
    """The most that may be left."""
    refused: str = ""
    """The sentence by which the job is refused."""

    @property
    def good(self) -> bool:
        return bool(self.refused) or self.left <= self.bound


def spec(cell: Cell) -> Fields:
    """The job's fields as its YAML would have them."""
    name = cell.strategy.split(",")[0]
    fields: Fields = {
        "batchSize": BATCH, "stopAfter": {"epochs": EPOCHS}, "evaluation": {"everySeconds": 0},
        "checkpoint": {"everySeconds": 2}, "workers": {"replicas": WORKERS},
    }  # fmt: skip
    fields |= STRATEGIES[cell.strategy]
    fields["algorithm"] = {"name": name} | fields.get("algorithm", {})
    # NB: an optimizer brings a decay and a schedule of its own, which other options may change.
    for option in sorted(cell.options, key=lambda option: not option.rule):
        for path, value in option.fields:
            *parents, last = path.split(".")
            inside = fields
            for parent in parents:
                inside[parent] = dict(inside.get(parent, {}))
                inside = inside[parent]
            inside[last] = value
        if option.rule:
            fields["optimizer"]["learningRate"] *= _fitting(name, option)
    return fields


def _fitting(strategy: str, rule: Option) -> float:
    """The factor on the rate of `rule` that a strategy needs."""
    if strategy in ("diloco", "async-diloco"):
        return 1 / AMPLIFYING
    if strategy in ("entropy", "parle") and rule.name == "optimizer lamb":
        # A step is as long as its tensor, which grows from zero, and their averages lag behind that.
        return LAGGING
    return 1.0


def run(cell: Cell, seed: int = 0) -> Outcome:
    """Trains the cell, and its plain twin once; `bound` is of the twin."""
    try:
        left = trained(cell, seed)
    except JobError as error:
        return Outcome(refused=str(error))
    if any(option.rule for option in cell.options):
        return Outcome(left, OPTIMIZERS_LEFT)
    return Outcome(left, max(NOISE_LEFT, NOISE_FACTOR * plain(cell.strategy, seed)))


@cache
def plain(strategy: str, seed: int) -> float:
    """What the plain twin has left."""
    return trained(Cell(strategy), seed)


def trained(cell: Cell, seed: int) -> float:
    """What the job has left at its end. Raises JobError where it is refused."""
    fields = spec(cell) | {"seed": seed}
    poison = EPOCHS * SAMPLES // BATCH // 3 if any(option.poisoned for option in cell.options) else None
    work = Squares(seed, poison)
    late = any(option.late for option in cell.options)
    joins = (Mishap(1, HALF_SECONDS),) if late else ()
    world = World(compute=ComputeTime("lognormal", STEP_SECONDS, 0.1), joins=joins)
    store, clock = None, Clock()
    if any(option.resumed for option in cell.options):
        store = MemoryStore()
        half = Simulation(job(**fields), work, world, clock=clock, store=store)
        while clock.now < HALF_SECONDS:
            half.advance()
        clock = Clock(clock.now)
    simulation = Simulation(job(**fields), work, world, clock=clock, store=store)
    while not simulation.over and clock.now < BOUND_SECONDS:
        simulation.advance()
    status = simulation.run() if simulation.over else simulation.cluster.status()
    # NB: work that servers throw away leaves the same weights behind as none would.
    if status.stop_reason != "epochs" or sum(status.refused.values()) > MOST_REFUSED * status.updates:
        return float("inf")
    left = work.left(simulation.answer(), _decay(fields))
    if fields["evaluation"].get("ema"):
        left = max(left, work.left(simulation.cluster.average(), _decay(fields)))
    return left


def _decay(fields: Fields) -> F32:
    """(SIZE,) what weight decay adds to the curvature of the loss that the job minimises."""
    optimizer = fields["optimizer"]
    coupled = optimizer.get("name", "sgd") not in DECOUPLED
    decay = np.full(SIZE, optimizer.get("weightDecay", 0.0) if coupled else 0.0, np.float32)
    if optimizer.get("groups"):
        decay[UNDECAYED] = 0
    return decay


def singles() -> Iterator[Cell]:
    """Each option against each strategy."""
    yield from (Cell(strategy, (option,)) for strategy in STRATEGIES for option in OPTIONS)


def pairs(strategy: str) -> Iterator[Cell]:
    """Each two options that do not exclude each other, against one strategy; of optimizers see MET_BY_OPTIMIZERS."""
    for both in combinations(GENERAL, 2):
        if both[0].kind != both[1].kind:
            yield Cell(strategy, both)
    for rule in OPTIMIZERS:
        for option in GENERAL:
            if option.name in MET_BY_OPTIMIZERS:
                yield Cell(strategy, (option, rule))


def few() -> Iterator[Cell]:
    """Each twelfth of `singles`, shifted from strategy to strategy, so that each option meets some of them."""
    yield from (
        cell for place, cell in enumerate(singles()) if (place + 5 * (place // len(OPTIONS))) % 12 == 0
    )
