"""What a job and its surroundings may become from one pass to the next, with figures and words that strangers choose.

`histories()` gives lists of statuses as an operator would write them, each derived from the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from asgd.spec.status import Advice, CheckpointView, Notice, StalenessView, Status
from asgd_operator.constants import Role
from asgd_operator.plan.model import Problem
from tests.unit.plan.builders import Scene, make_job

Change = Callable[[Scene], Scene]
WORDS = st.one_of(
    st.text(max_size=30), st.sampled_from(["", "no such file 🚀", "x" * 40_000, "\x00\x85\u2028\ufeff"])
)
COUNTS = st.one_of(st.integers(0, 100), st.sampled_from([-1, 2**31, 2**63 - 1, 2**63, 2**70]))
FIGURES = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1e300, 5e-324]))
SOME = st.booleans()


def maybe(strategy: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(otherwise), strategy)


METRICS = st.one_of(
    st.dictionaries(WORDS.filter(lambda words: len(words) < 100), st.none() | FIGURES, max_size=4),
    st.just({f"metric.{number}": float(number) for number in range(70)}),
)
REPORTS = st.builds(
    Status,
    job=st.just("x"),
    algorithm=st.just("asgd"),
    phase=st.sampled_from(["running", "running", "running", "finished", "?"]),
    updates=COUNTS,
    samples=COUNTS,
    epochs=FIGURES,
    loss=st.none() | FIGURES,
    metrics=maybe(METRICS, {}),
    evaluations_failed=st.integers(0, 3),
    evaluation_error=maybe(WORDS, ""),
    samples_per_second=FIGURES,
    staleness=st.builds(StalenessView, p50=COUNTS, p99=COUNTS),
    lost_updates=COUNTS,
    restarts=maybe(st.just({Role.WORKER.value: 2**40}), {}),
    checkpoint=st.none()
    | st.builds(CheckpointView, updates=COUNTS, uri=WORDS, seconds_ago=FIGURES, bytes=COUNTS),
    stop_reason=maybe(st.sampled_from(["epochs", "seconds", "diverged", "y" * 100]), ""),
    stop_detail=maybe(WORDS, ""),
    diverged_by=maybe(st.lists(COUNTS, max_size=3), []),
    suspects=maybe(st.lists(COUNTS, max_size=3), []),
    notices=maybe(st.lists(st.builds(Notice, number=COUNTS, text=WORDS), max_size=3), []),
    rejected_workers=maybe(st.lists(COUNTS, max_size=3) | st.just(list(range(5000))), []),
    advice=st.none() | st.builds(Advice, workers=COUNTS, text=WORDS, measured=COUNTS | st.integers(0, 9)),
    terms=maybe(st.lists(COUNTS, max_size=3), []),
    progress=st.none() | FIGURES,
)


@st.composite
def pods(draw: st.DrawFn) -> Change:
    """Some pod is in trouble, or is not any more."""
    role, which = draw(st.sampled_from([Role.SERVER, Role.WORKER])), draw(st.integers(0, 3))
    fields = {
        "restarts": draw(st.integers(0, 5)),
        "ready": draw(SOME),
        "exit_code": draw(st.sampled_from([None, 0, 1, 2, 78, 137])),
        "phase": draw(st.sampled_from(["Pending", "Running", "Failed"])),
        "waiting": draw(st.sampled_from(["", "CrashLoopBackOff", "CreateContainerConfigError"])),
        "waits_for": draw(WORDS),
        "last_words": draw(WORDS),
        "unschedulable": draw(SOME),
        "unscheduled": draw(WORDS),
        "disrupted": draw(SOME),
    }
    return lambda scene: scene.changing_pod(f"x-{role.value}-{which}", **fields)


def _sized(servers: int, workers: int, failed: int, failure: str | None) -> Change:
    ends = {
        "failed": failed,
        "failed_indexes": failed,
        "failure": (failure, failure) if failure is not None else None,
    }
    return lambda scene: scene.with_servers(ready=servers).with_workers(ready=workers, **ends)


def _problem(words: str | None) -> Change:
    return lambda scene: scene.seeing(problem=None if words is None else Problem("InvalidSpec", words))


def _autoscaled(least: int, most: int, window: int) -> Change:
    rule = {"min": least, "max": most, "stabilizationWindowSeconds": window}
    return lambda scene: scene.having(workers={"autoscale": rule}).edited()


CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(lambda report: lambda scene: scene.seeing(report=report), REPORTS),
    st.builds(lambda report: lambda scene: scene.seeing(report=report), REPORTS),
    st.just(lambda scene: scene.seeing(report=None)),
    pods(),
    st.builds(_sized, st.integers(0, 2), st.integers(0, 4), st.integers(0, 3), maybe(WORDS, None)),
    st.builds(lambda value: lambda scene: scene.suspended(value).edited(), SOME),
    st.builds(_autoscaled, st.integers(1, 4), st.integers(4, 9), st.sampled_from([0, 60])),
    st.builds(lambda kept: lambda scene: scene.shards(1 + kept).edited().with_servers(), st.integers(0, 2)),
    st.builds(_problem, st.none() | WORDS),
    st.just(lambda scene: scene.seeing(deleting=True)),
    st.just(lambda scene: replace(scene, seen=make_job().seen)),
)
SECONDS = st.sampled_from([0, 1, 31, 61, 700, 4000])


class History(list[dict[str, Any]]):
    """Statuses, the first one first; too many to print."""

    def __init__(self) -> None:
        super().__init__()
        self.restless: list[Any] = []
        """Those that passes, with all as it was, would write anew without end."""

    def __repr__(self) -> str:
        return f"<{len(self)} statuses>"


@st.composite
def histories(draw: st.DrawFn, look_again: bool = False) -> History:
    """Statuses of one job, one after the other. Some jobs end on the way, and are made anew under their name.

    `look_again`: with `restless`, which takes longer.
    """
    scene, found = make_job().running(), History()
    for change in draw(st.lists(CHANGES, min_size=1, max_size=12)):
        scene = change(scene).after(draw(SECONDS))
        status = scene.plan().status
        if status is not None:
            scene = scene.seeing(status=status)
            found.append(dict(status))
            if look_again:
                found.restless += _restless(scene)
        if scene.observed().finished or scene.seen.deleting:
            scene = make_job().running()
    return found


def _restless(scene: Scene) -> list[Any]:
    """The last of four statuses a second apart, all different though nothing has happened; empty if it came to rest."""
    found = [scene]
    for _ in range(3):
        found.append(found[-1].after(1).written())
    statuses = [later.seen.status for later in found]
    return [] if any(now == then for now, then in pairwise(statuses)) else statuses[-1:]
