"""Stale synchronous parallel (Ho et al. 2013): asynchronous SGD in which nobody runs too far ahead of the slowest.

A worker that has completed c pushes may start its next step only while c - min over live workers <= `bound`; 0
makes all wait for each other after every step. Dead workers' clocks go with them, and workers that are out of data
do not count.
"""

from __future__ import annotations

from asgd.algorithms.base import ShardState, Strategy
from asgd.algorithms.gradient import GradientServer, GradientWorker
from asgd.spec.types import JobSpec


class SspServer(GradientServer):
    pulls_wait = True

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.bound = int(spec.algorithm.get("bound", 3))

    def may_pull(self, state: ShardState, worker: int) -> bool:
        mine = state.clocks.get(worker)
        return mine is None or mine - min(state.clocks.values()) <= self.bound


STRATEGY = Strategy("ssp", SspServer, GradientWorker, fields=("bound",), counts="samples", models=True)
