"""Statuses as shard 0 would send them: a small model of a run, for tests and for a look at the live view."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from asgd.spec.status import CheckpointView, StalenessView, Status, WorkerView
from asgd.spec.types import Metric, StopAfter


def worker(index: int, state: str = "running", **fields: Any) -> WorkerView:
    """A worker that computed in proportion to its index, so shares and rates differ."""
    given = {
        "joined": 0.2,
        "samples": 1000 + 10 * index,
        "samples_per_second": 800.0 + 7 * index,
        "loss": 0.08 + index / 1000,
        "ended": None if state == "running" else 8.0,
    }
    return WorkerView(index=index, state=state, **{**given, **fields})


def status(workers: int | list[WorkerView] = 4, **fields: Any) -> Status:
    """A job in the middle of its run, all figures set."""
    given: dict[str, Any] = {
        "job": "digits",
        "phase": "running",
        "algorithm": "asgd",
        "workers": [worker(index) for index in range(workers)] if isinstance(workers, int) else workers,
        "updates": 1240,
        "samples": 39680,
        "epochs": 27.6,
        "seconds": 12.34,
        "samples_per_second": 8412.0,
        "updates_per_second": 262.9,
        "bytes_sent": 12_300_000,
        "bytes_received": 11_900_000,
        "loss": 0.084,
        "metrics": {"accuracy": 0.981},
        "metrics_at_updates": 1200,
        "staleness": StalenessView(mean=3.0, p50=3, p99=5, max=9),
        "staleness_histogram": {0: 10, 1: 80, 2: 300, 3: 500, 4: 250, 5: 90, 9: 10},
        "versions": [1240, 1239],
        "terms": [1, 1],
        "checkpoint": CheckpointView(updates=1000, uri="out/checkpoints", seconds_ago=4.2, bytes=80_000),
        "progress": 0.69,
        "eta_seconds": 5.5,
        "stop_after": StopAfter(epochs=40),
        "guarantee": "every sample once an epoch",
    }
    return Status(**{**given, **fields})


def trouble(now: Status) -> Status:
    """The same job after a bad day: a lost worker, refused pushes, a server that came back."""
    lost = [worker(1, "lost"), *(w for w in now.workers if w.index != 1)]
    return msgspec.structs.replace(
        now,
        workers=lost,
        workers_lost=[1],
        refused={"stale": 3, "nonfinite": 0},
        lost_updates=12,
        restarts={"server": 1, "worker": 1},
    )


def run(
    seconds: float = 20.0, workers: int = 4, every: float = 0.25, evaluate: float = 4.0, start: float = 0.0
) -> Iterator[Status]:
    """A whole run: workers join in turn, worker 1 is lost half-way and shard 1 comes back soon after."""
    rate, steps = 260.0 * workers, max(1, round(seconds / every))
    for step in range(steps + 1):
        t = seconds * step / steps
        done = step == steps
        measured = math.floor((start + t) / evaluate) * evaluate if evaluate else 0.0
        updates = round(rate * (start + t) / 32)
        yield status(
            [_member(index, t, seconds, done) for index in range(workers) if index * seconds / 1280 <= t],
            phase="finished" if done else "running",
            stop_reason="epochs" if done else "",
            seconds=t,
            updates=updates,
            samples=updates * 32,
            epochs=updates * 32 / 1437,
            loss=2.3 * math.exp(-(start + t) / 5) + 0.05 + 0.02 * math.sin(7 * t),
            samples_per_second=rate * (1 + 0.1 * math.sin(t)) if t else 0.0,
            metrics={"accuracy": 1 - 0.9 * math.exp(-measured / 5)} if measured else {},
            metrics_at_updates=round(rate * measured / 32),
            staleness_histogram={0: 1 + updates // 20, 1: updates // 10, 2: updates // 3, 3: updates // 2},
            terms=[1, 2 if t > 0.6 * seconds else 1],
            progress=t / seconds,
            eta_seconds=seconds - t,
            stop_after=StopAfter(epochs=40, metric=Metric(name="accuracy", at_least=0.98)),
        )


def _member(index: int, t: float, seconds: float, done: bool) -> WorkerView:
    joined = index * seconds / 1280
    if index == 1 and t > seconds / 2:
        return worker(index, "lost", joined=joined, ended=seconds / 2)
    if done:
        return worker(index, "left", joined=joined, ended=t)
    return worker(index, joined=joined)
