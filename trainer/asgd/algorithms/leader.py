"""The worker's half of Leader SGD, and what its two server halves share: groups, ranks, the mean at the end.

A worker holds at most two leaders: its group's ("near") and the best of all ("wide"), each as it was when it was last
pulled. Its own weights are never one of them, for an old copy of itself would drag a leader back. The moves to the two
are made one after the other, as the paper has it: each goes a part of the way, so that no two together overshoot.
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


LAST_PART = 0.9
"""Weights that a worker left before so much of the job, since its own loop was over, are of long ago."""


class Parting:
    """The job is over: the answer is the mean of the weights that workers leave (kept[worker]), in their order."""

    parted = 0
    parted_at = 0
    """Samples of the job when the first of them left."""

    def part(self, state: ShardState, worker: int) -> None:
        """One more worker has left its weights."""
        if self.parted_at < LAST_PART * state.samples:
            state.kept.pop(GONE, None)
            self.parted, self.parted_at = 0, state.samples
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
        """What the newest exchange is: report | weights (of a leader) | fetch | onward (to the best of all), or nothing
        of these."""
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
        for name in ("near", "wide"):
            if name in self.leaders:
                self._move(w, self.leaders[name], self.prox[name])

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
            return w if self.stage == "weights" else None
        self.since = 0
        self.reports += 1
        self.stage = "report"
        return w if self.notes.get("everybody") else None

    def incoming(self, w: Vector, pulled: Vector) -> None:
        names = [name for name in ("near", "wide") if self.notes.get(name)] or ["near"]
        finite, kept = math.isfinite(float(w.sum())), None
        if not finite:
            w[:] = pulled
            self.optimizer.forget()
        for name in names:
            if finite:
                self._move(w, pulled, self.force[name])
            if self.prox[name]:
                self.leaders[name] = kept = pulled * 1 if kept is None else kept

    def follow(self) -> Turn:
        stage, self.stage, notes = self.stage, "", self.notes
        for name, mark in (("near", "leads"), ("wide", "best")):
            if notes.get(mark):
                self.leaders.pop(name, None)
        more = bool(notes.get("more"))
        if stage == "report" and notes.get("send"):
            self.stage = "weights"
            return Turn(push=True, pull=more and not self.asynchronous)
        # NB: a server that was started anew knows nobody, and refuses what was computed from versions that it lost.
        fetches = self.asynchronous and (notes.get("fetch") or not notes)
        if stage in ("report", "weights") and fetches:
            self.stage = "fetch"
            return Turn(push=False, pull=True)
        if stage in ("report", "fetch") and more:
            self.stage = "onward"
            return Turn(push=True, pull=True)
        return NOTHING

    def parting(self, w: Vector) -> Vector | None:
        self.leaves = True
        return w

    def meta(self) -> dict[str, float]:
        if self.leaves:
            return {"parting": 1.0}
        if self.stage == "onward":
            return {"onward": 1.0}
        if not self.asynchronous:
            return {}
        if self.stage == "weights":
            self.newest = self.notes.get("send", 0.0)
            return {"send": self.newest}
        return {"wide": float(self.reports % self.every == 0), "newest": self.newest}
