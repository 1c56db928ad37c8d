"""The worker's half of Leader SGD, and what its two server halves share: groups, ranks, the mean at the end.

A worker holds at most two leaders: its group's and the best of all, each as it was when it was last pulled. Its
own weights are never one of them, for an old copy of itself would drag a leader back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from asgd.algorithms.base import NOTHING, ShardState, Turn, Vector
from asgd.algorithms.local import LocalWorker
from asgd.spec.types import JobSpec


def group_of(groups: int | str, worker: int, nodes: Mapping[int, str]) -> int | str:
    """The group of a worker: its number modulo `groups`, or with "node" the machine that it runs on."""
    return nodes.get(worker, "") if groups == "node" else worker % int(groups)


def standing(loss: float | None, worker: int) -> tuple[float, int]:
    """Who is better stands lower; a loss that is unknown or no number is the worst."""
    return (loss if loss is not None and math.isfinite(loss) else math.inf), worker


GONE = -1
"""Key in `ShardState.kept` of what workers have left at parting, summed up; those of workers are from 0."""


class Parting:
    """The job is over: the answer is the mean of the weights that workers leave (kept[worker]), in their order."""

    parted = 0

    def part(self, state: ShardState, worker: int) -> None:
        """One more worker has left its weights."""
        total = state.kept.setdefault(GONE, np.zeros_like(state.weights))
        total += state.kept.pop(worker)
        self.parted += 1
        state.weights[:] = total
        state.weights *= np.float32(1 / self.parted)


class LeaderWorker(LocalWorker):
    """Steps of `spec.optimizer`, an exchange every `period` steps; its momentum is left alone by pulls."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        whole = int(own.get("globalPeriod", 4 * self.period))
        self.force = {
            "near": float(own.get("lambda", 0.1)),
            "wide": float(own.get("globalLambda", 0.1)),
        }
        self.prox = {
            "near": float(own.get("prox", 0.1)) / self.period,
            "wide": float(own.get("globalProx", 0.1)) / whole,
        }
        self.leaders: dict[str, Vector] = {}
        self.asynchronous = bool(own.get("asynchronous", False))
        self.every = max(1, whole // self.period)
        self.reports = 0
        self.stage = ""
        """What the last exchange brought to the servers: report | weights, or nothing."""
        self.newest = 0.0
        """Number of the newest weights that this worker sent."""
        self.leaves = False

    def joined(self, w: Vector) -> None:
        self.scratch = w * 0
        self.since = 0
        self.leaders.clear()
        self.optimizer.forget()

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        super().step(w, g, rate)
        for name, leader in self.leaders.items():
            self._move(w, leader, self.prox[name])

    def _move(self, w: Vector, leader: Vector, share: float) -> None:
        """w goes `share` of the way to the leader."""
        self.scratch[:] = leader
        self.scratch -= w
        self.scratch *= share
        w += self.scratch

    def turn(self, step: int) -> Turn:
        due = self.since >= self.period
        return Turn(push=due, pull=due and not self.asynchronous)

    def outgoing(self, w: Vector, g: Vector) -> Vector | None:
        if self.since == 0:
            self.stage = "weights"
            return w
        self.since = 0
        self.reports += 1
        self.stage = "report"
        return w if self.notes.get("everybody") else None

    def incoming(self, w: Vector, pulled: Vector) -> None:
        name = "wide" if self.notes.get("wide") else "near"
        if math.isfinite(float(w.sum())):
            self._move(w, pulled, self.force[name])
        else:
            w[:] = pulled
            self.optimizer.forget()
        if self.prox[name]:
            self.leaders[name] = pulled * 1

    def follow(self) -> Turn:
        stage, self.stage = self.stage, ""
        if self.notes.get("leads"):
            self.leaders.pop("wide" if self.notes.get("wide") else "near", None)
        if stage == "report" and self.notes.get("send"):
            return Turn(push=True, pull=False)
        fetch = self.asynchronous and stage and self.notes.get("fetch")
        return Turn(push=False, pull=True) if fetch else NOTHING

    def parting(self, w: Vector) -> Vector | None:
        self.leaves = True
        return w

    def meta(self) -> dict[str, float]:
        if self.leaves:
            return {"parting": 1.0}
        if not self.asynchronous:
            return {}
        if self.stage == "weights":
            self.newest = self.notes.get("send", 0.0)
            return {"send": self.newest}
        return {"wide": float(self.reports % self.every == 0), "newest": self.newest}
