"""The worker's half of Leader SGD, and how workers form groups; the servers' half is in `lsgd.py`.

A worker holds at most two leaders: its group's and the best of all, each as it was when it was last pulled. Its
own weights are never one of them, for an old copy of itself would drag a leader back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from asgd.algorithms.base import NOTHING, Turn, Vector
from asgd.algorithms.local import LocalWorker
from asgd.spec.types import JobSpec


def group_of(groups: int | str, worker: int, nodes: Mapping[int, str]) -> int | str:
    """The group of a worker: its number modulo `groups`, or with "node" the machine that it runs on."""
    return nodes.get(worker, "") if groups == "node" else worker % int(groups)


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
        self.owes = False
        """A report is out whose answer may be: you lead, send your weights."""
        self.parts = False

    def joined(self, w: Vector) -> None:
        self.scratch = w * 0
        self.since = 0
        self.leaders.clear()

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

    def outgoing(self, w: Vector, g: Vector) -> Vector | None:
        if self.since == 0:
            return w  # asked for: it leads
        self.since = 0
        self.owes = True
        return w if self.notes.get("everybody") else None

    def incoming(self, w: Vector, pulled: Vector) -> None:
        name = "wide" if self.notes.get("wide") else "near"
        if math.isfinite(float(w.sum())):
            self._move(w, pulled, self.force[name])
        else:
            w[:] = pulled
            self.slots.clear()
        if self.prox[name]:
            self.leaders[name] = pulled * 1

    def follow(self) -> Turn:
        owes, self.owes = self.owes, False
        if self.notes.get("leads"):
            self.leaders.pop("wide" if self.notes.get("wide") else "near", None)
        return Turn(push=True, pull=False) if owes and self.notes.get("send") else NOTHING

    def parting(self, w: Vector) -> Vector | None:
        self.parts = True
        return w

    def meta(self) -> dict[str, float]:
        return {"parting": 1.0} if self.parts else {}
