"""Entropy-SGD, Elastic-SGD and Parle (Chaudhari et al. 2017): replicas that look for wide minima and keep together.

All exchange in rounds: a worker sends where it is, the shards answer with the mean. Parle makes L inner steps from
y = z = x_a (`y -= eta' (g(y) + (y - x_a) / gamma); z = alpha z + (1 - alpha) y`), sets x_a to z, and pulls it
towards the mean by eta / rho. Elastic-SGD pulls after each step and has no inner loop. Entropy-SGD has no rho: all
replicas start from one x, which the mean of their z replaces; with one worker it is the paper's. Scopes shrink with
the job's rounds, which the shards count: whoever comes late or back has the others' scopes. The force of
Parle is of z, as in the authors' code; the paper's is of the x_a before. See algorithms.md section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from asgd.algorithms.base import (
    Contribution,
    LocalRule,
    ShardState,
    Strategy,
    Turn,
    Vector,
    WorkerStrategy,
)
from asgd.algorithms.grouped import local_optimizer
from asgd.algorithms.rounds import Decision, RoundServer, mean
from asgd.spec.types import JobSpec

SMALLEST_GAMMA, SMALLEST_RHO = 1.0, 0.1


class MeanServer(RoundServer):
    """The centre is the mean of what the workers hold; whoever comes late is welcome in the next round.

    facts: rounds (closed so far).
    """

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        state.weights[:] = mean([part.vector for part in given])
        state.facts["rounds"] = int(state.facts.get("rounds", 0)) + 1

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        return {"rounds": float(state.facts.get("rounds", 0))}


class ScopedWorker(WorkerStrategy):
    """Shared by the three: steps of `spec.optimizer`, an exchange every `period` steps, scopes that shrink."""

    default_period: ClassVar[int] = 25
    optimizer: LocalRule

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.optimizer = local_optimizer(self.hyper)
        self.period = int(spec.algorithm.get("period", self.default_period))
        self.rounds = 0
        """Of the job, at the newest pull."""
        self.rate = spec.optimizer.learning_rate

    def joined(self, w: Vector) -> None:
        self.x, self.z, self.pull, self.scratch = w * 1, w * 1, w * 0, w * 0
        self.optimizer.forget()
        self.rounds = int(self.notes.get("rounds", self.rounds))

    def count(self) -> None:
        """A round was pulled."""
        self.rounds = int(self.notes.get("rounds", self.rounds + 1))

    def scope(self, name: str, default: float, least: float) -> float:
        """The scope `name` of this round: its first value times (1 - 1 / 2B)^round, with B batches an epoch."""
        first = float(self.spec.algorithm.get(name, default))
        batches = (self.dataset or 0) / self.spec.batch_size
        return max(first * (1 - 1 / (2 * batches)) ** self.rounds, least) if batches >= 1 else first

    def advance(self, w: Vector, g: Vector, rate: float) -> None:
        """One step of the optimizer by g."""
        self.rate = self.optimizer.learning_rate(rate)
        self.optimizer.step(w, g, rate, self.scratch)

    def turn(self, step: int) -> Turn:
        due = step % self.period == 0
        return Turn(push=due, pull=due)

    def drawn(self, x: Vector, centre: Vector) -> Vector:
        """-eta / rho (x - centre), in `pull`."""
        self.pull[:] = x
        self.pull -= centre
        self.pull *= -min(1.0, self.rate / self.scope("rho", 1.0, SMALLEST_RHO))
        return self.pull


class ElasticWorker(ScopedWorker):
    """Elastic-SGD; x is the mean that the newest round gave."""

    default_period = 1

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        self.rate = self.optimizer.learning_rate(rate)
        pull = self.drawn(w, self.x)
        self.advance(w, g, rate)
        w += pull

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        return w

    def incoming(self, w: Vector, pulled: Vector) -> None:
        self.x[:] = pulled
        self.count()


class EntropyWorker(ScopedWorker):
    """Entropy-SGD; x is where the inner loop began, w is y."""

    default_period = 20

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        pull = self.pull
        pull[:] = w
        pull -= self.x
        pull *= 1 / self.scope("gamma", 100.0, SMALLEST_GAMMA)
        pull += g
        self.advance(w, pull, rate)
        keep = float(self.spec.algorithm.get("average", 0.75))
        self.z *= keep
        self.scratch[:] = w
        self.scratch *= 1 - keep
        self.z += self.scratch

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        return self.z

    def incoming(self, w: Vector, pulled: Vector) -> None:
        self.restart(w, pulled)

    def restart(self, w: Vector, x: Vector) -> None:
        """The next inner loop begins at x."""
        self.x[:] = x
        self.z[:] = x
        w[:] = x
        self.count()


class ParleWorker(EntropyWorker):
    """Parle: like Entropy-SGD, but each replica keeps an x of its own, drawn towards the mean of all."""

    default_period = 25

    def incoming(self, w: Vector, pulled: Vector) -> None:
        self.z += self.drawn(self.z, pulled)
        self.restart(w, self.z)


ELASTIC = Strategy("elastic", MeanServer, ElasticWorker, answer="mean", fields=("rho", "period"))
ENTROPY = Strategy("entropy", MeanServer, EntropyWorker, answer="mean", fields=("gamma", "period", "average"))
PARLE = Strategy(
    "parle", MeanServer, ParleWorker, answer="mean", fields=("gamma", "rho", "period", "average")
)
