"""The table of `asgd report`: one row a run, the same cells for HTML and PNG. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from msgspec import Struct

from asgd.report import units
from asgd.report.compared import Compared
from asgd.report.goal import Goal, reached
from asgd.report.points import Point

_MOST_METRICS = 4


class Column(Struct, frozen=True):
    """`brief` columns stand in the picture too, where there is no room for all; neighbours share a `group`."""

    title: str
    cell: Callable[[Compared], str]
    group: str = ""
    numeric: bool = True
    brief: bool = False


def columns(runs: Sequence[Compared], goal: Goal | None) -> list[Column]:
    """All columns beside the run's name."""
    whole = "whole run"
    return [
        Column("algorithm", lambda run: run.algorithm, numeric=False, brief=True),
        Column("workers", lambda run: f"{run.workers:,}", brief=True),
        Column("shards", lambda run: f"{run.shards:,}", brief=True),
        Column("seed", lambda run: str(run.seed), brief=True),
        Column("stopped", _stopped, numeric=False, brief=True),
        *_final(runs, goal),
        *_reach(goal),
        Column("time", lambda run: units.seconds(run.seconds), whole, brief=True),
        Column("updates", lambda run: f"{run.updates:,}", whole, brief=True),
        Column("samples", lambda run: f"{run.samples:,}", whole),
        Column("bytes", lambda run: units.size(round(run.bytes)), whole, brief=True),
        Column("samples/s", lambda run: units.rate(run.samples_per_second), whole, brief=True),
        Column("updates/s", lambda run: units.rate(run.updates_per_second), whole),
        Column("mean", lambda run: f"{run.staleness.mean:.1f}", "staleness", brief=True),
        Column("p99", lambda run: str(run.staleness.p99), "staleness", brief=True),
        Column("max", lambda run: str(run.staleness.max), "staleness"),
        Column("lost", lambda run: f"{run.lost_updates:,}"),
    ]


def groups(shown: Sequence[Column]) -> list[tuple[str, int]]:
    """(name, number of columns) of neighbours that share a group, in order."""
    return [(name, len(list(members))) for name, members in groupby(shown, lambda column: column.group)]


def _final(runs: Sequence[Compared], goal: Goal | None) -> list[Column]:
    """The goal's metric first, then the others as they came, and the training loss."""
    names = [goal.name] if goal else []
    names += [name for run in runs for name in run.metrics]

    def column(name: str) -> Column:
        first = goal is not None and name == goal.name
        return Column(name, lambda run: units.number(run.metrics.get(name)), "at the end", brief=first)

    shown = [column(name) for name in list(dict.fromkeys(names))[:_MOST_METRICS]]
    return [*shown, Column("loss", lambda run: units.number(run.loss), "at the end")]


def _reach(goal: Goal | None) -> list[Column]:
    """What it cost to reach the goal."""
    if goal is None:
        return []
    group = f"to {goal}" if goal.bound is not None else f"to the best {goal.name}"

    def cell(figure: Callable[[Point], str]) -> Callable[[Compared], str]:
        def text(run: Compared) -> str:
            point = reached(goal, run.points)
            return "-" if point is None else figure(point)

        return text

    best = Column(goal.name, cell(lambda point: units.number(point.metrics[goal.name])), group, brief=True)
    return [
        *([best] if goal.bound is None else []),
        Column("time", cell(lambda point: units.seconds(point.t)), group, brief=True),
        Column("updates", cell(lambda point: f"{point.updates:,}"), group, brief=True),
        Column("bytes", cell(lambda point: units.size(round(point.bytes))), group, brief=True),
    ]


def _stopped(run: Compared) -> str:
    return f"{run.stopped} (simulated)" if run.simulated else run.stopped
