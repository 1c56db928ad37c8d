"""Training against training: ours and DDP on the same example, each with the best learning rate of the same small grid.

A round is a seed. Every trainer trains once in it, in turn, until its target or its time is up; from the same runs come
samples/s and the time to the target.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from asgd_bench.forks import Forks
from asgd_bench.measurement import Progress
from asgd_bench.results import Line, Sample
from asgd_bench.system import Failed, System, script
from asgd_bench.systems import TORCH_BYTES
from asgd_bench.training import Rule, train

PATIENCE_SECONDS = 90.0
"""How much longer than a run its evaluations may take."""
GRID_SEEDS = (1000, 1001)
"""Seeds of the runs that choose a learning rate: none of the rounds uses them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is trained, on what kind of machines, and when it counts as solved."""

    example: str
    metric: str
    target: float
    seconds: float
    """Longest a run may take."""
    workers: int = 4
    batch: int = 32
    step_seconds: float = 0.0
    straggler: int = -1
    optimizer: str = "sgd"
    every: float = 0.2
    """Seconds between two evaluations."""
    least: float = 0.0
    """Seconds that a run takes at least, although its target is met: samples/s want more than its beginning."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: `reached` is when the target was met, None if it was not."""

    samples_per_second: float
    reached: float | None
    more: Mapping[str, float] = field(default_factory=dict)


class Trainer(Protocol):
    """Whoever can train a problem."""

    @property
    def name(self) -> str: ...

    def train(self, problem: Problem, rate: float, seed: int) -> Outcome:
        """Raises Failed."""


@dataclass(frozen=True, slots=True)
class Ours:
    """A job of ours with `sets` over the defaults, one shard."""

    name: str
    forks: Forks
    sets: Sequence[str] = ()

    def train(self, problem: Problem, rate: float, seed: int) -> Outcome:
        """One run by real servers, workers and evaluator. Raises Failed."""
        sets = [
            f"optimizer.learningRate={rate}", f"batchSize={problem.batch}", f"seed={seed}",
            f"evaluation.everySeconds={problem.every}", *_optimizer(problem.optimizer), *self.sets,
        ]  # fmt: skip
        args = {
            "example": problem.example,
            "step_seconds": problem.step_seconds,
            "straggler": problem.straggler,
        }
        rule = Rule(problem.seconds, problem.metric, problem.target, least=problem.least)
        done = train(self.forks, sets, args, rule, workers=problem.workers)
        more = {"staleness": done.status.staleness.mean}
        return Outcome(done.samples_per_second, done.reached(problem.metric, problem.target), more)


def _optimizer(name: str) -> list[str]:
    return ["optimizer.name=adam", "optimizer.betas=[0, 0.99]"] if name == "adam" else []


class Ddp:
    """DistributedDataParallel over gloo by `peers/ddp_training.py`; its processes stay for all runs of one problem."""

    name = "DDP (gloo)"

    def __init__(self) -> None:
        self._system: System | None = None
        self._started: tuple[str, int, float] | None = None

    def train(self, problem: Problem, rate: float, seed: int) -> Outcome:
        """One run. Raises Failed."""
        kind = (problem.example, problem.workers, problem.step_seconds)
        if self._system is None or kind != self._started:
            self.close()
            size = ["--parameters=0", f"--workers={problem.workers}"]
            own = [f"--example={problem.example}", f"--step={problem.step_seconds}"]
            command = [sys.executable, script("ddp_training"), *size, *own]
            self._system = System(self.name, command, memory_bytes=TORCH_BYTES * problem.workers)
            self._system.start()
            self._started = kind
        request: dict[str, Any] = {
            "run": problem.seconds, "rate": rate, "seed": seed, "straggler": problem.straggler, "batch": problem.batch,
            "optimizer": problem.optimizer, "metric": problem.metric, "target": problem.target, "every": problem.every,
            "least": problem.least,
        }  # fmt: skip
        try:
            answer = self._system.ask(request, problem.seconds + PATIENCE_SECONDS)
        except Failed:
            # NB: a late answer would be taken for that of the next question.
            self.close()
            raise
        reached = next((at for at, m in answer["curve"] if m[problem.metric] >= problem.target), None)
        return Outcome(answer["samples_per_second"], reached)

    def close(self) -> None:
        """Ends the processes."""
        if self._system:
            self._system.stop()
            self._system = None


@dataclass(slots=True)
class Results:
    """What each trainer made of a problem, in the order of the rounds; `rates` are the chosen learning rates."""

    outcomes: dict[str, list[Outcome | None]]
    failures: dict[str, str]
    rates: dict[str, float]

    def speed(self) -> list[Line]:
        """Lines in samples/s."""
        return [
            self._line(name, [Sample(o.samples_per_second) if o else None for o in runs])
            for name, runs in self._all
        ]

    def times(self) -> list[Line]:
        """Lines in seconds to the target; a run that missed it counts as none, and is told."""
        lines = []
        for name, runs in self._all:
            samples = [Sample(o.reached) if o and o.reached is not None else None for o in runs]
            line = self._line(name, samples)
            missed = sum(o is not None and o.reached is None for o in runs)
            told = {"learning rate": f"{self.rates[name]:g}"} if name in self.rates else {}
            told |= {"missed": f"{missed} of {len(runs)}"} if missed else {}
            stale = [o.more["staleness"] for o in runs if o and "staleness" in o.more]
            told |= {"staleness": f"{sum(stale) / len(stale):.1f}"} if stale else {}
            lines.append(Line(line.name, line.samples, line.failure, told))
        return lines

    @property
    def _all(self) -> list[tuple[str, list[Outcome | None]]]:
        return list(self.outcomes.items())

    def _line(self, name: str, samples: list[Sample | None]) -> Line:
        return Line(name, samples, self.failures.get(name, ""))


def compare(
    trainers: Sequence[Trainer],
    problem: Problem,
    rates: Mapping[str, float],
    rounds: Iterable[int],
    progress: Progress,
) -> Results:
    """Every trainer with its learning rate of `rates`, once in each round, in turn; a round's number is the seed."""
    results = Results({one.name: [] for one in trainers}, {}, dict(rates))
    for number in rounds:
        for trainer in trainers:
            runs = results.outcomes[trainer.name]
            runs.append(None)
            if trainer.name in results.failures:
                continue
            progress(f"round {number + 1}: {problem.example} by {trainer.name}")
            try:
                runs[-1] = trainer.train(problem, rates[trainer.name], number)
            except Failed as error:
                results.failures[trainer.name] = str(error)
    return results


def choose_rates(
    trainers: Sequence[Trainer],
    problem: Problem,
    grid: Sequence[float],
    progress: Progress,
    seeds: Sequence[int] = GRID_SEEDS,
) -> dict[str, float]:
    """{trainer: the rate of `grid` whose runs together reach the target first}; the first rate if none does."""
    chosen = {}
    for trainer in trainers:
        best, chosen[trainer.name] = len(seeds) * problem.seconds, grid[0]
        for rate in grid:
            progress(f"learning rate {rate:g}: {problem.example} by {trainer.name}")
            try:
                together = _together(trainer, problem, rate, seeds, best)
            except Failed:
                break
            if together < best:
                best, chosen[trainer.name] = together, rate
    return chosen


def _together(trainer: Trainer, problem: Problem, rate: float, seeds: Sequence[int], best: float) -> float:
    """Seconds that the runs of a rate take to the target, one after the other; `best` or more if they don't get there.

    NB: who has not reached the target by the best time so far can't win any more.
    """
    spent = 0.0
    for seed in seeds:
        short = replace(problem, seconds=min(problem.seconds, best - spent), least=0.0)
        reached = trainer.train(short, rate, seed).reached
        if reached is None:
            return best
        spent += reached
        if spent >= best:
            return best
    return spent
