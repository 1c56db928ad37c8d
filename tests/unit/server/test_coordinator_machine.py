"""The coordinator alone, restarted between any two steps: it counts each sample once and always comes to its end."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asgd.server.agreement import Agreement, Told
from asgd.server.coordinator import Coordinator
from asgd.server.divergence import Divergence
from asgd.server.kept import RUN_BOUND, Kept
from asgd.server.mean import Mean
from asgd.server.notices import Notices
from asgd.server.patience import Patience
from asgd.server.pool import Pool
from asgd.server.rhythm import Counts
from asgd.spec.status import BestView, Notice
from asgd.wire.messages import Granted
from tests.checks.harness import job_spec

SIZE, BATCH, EPOCHS = 48, 4, 2
WORKERS = 3
DEADLINE = 20.0
Span = tuple[int, int, int]


@dataclass
class Expected:
    """What must be so, kept beside the coordinator and put back with it."""

    visited: set[tuple[int, int]] = field(default_factory=set)
    """(epoch, sample)"""
    updates: int = 0
    stop: str = ""
    bad: int = 0
    skipped: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


class Restarts(RuleBasedStateMachine):
    """Three workers over two epochs; whoever hangs sends heartbeats and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.requests = self.incarnations = 0
        self.lives: dict[int, int] = {}
        self.held: dict[int, list[Span]] = {}
        """What each worker believes to be leased to it."""
        self.expected = Expected()
        self.chief = self.fresh()
        self.saved = json.dumps(self.chief.state(self.now)), deepcopy(self.expected)

    def fresh(self) -> Coordinator:
        spec = job_spec(
            batchSize=BATCH,
            stopAfter={"epochs": EPOCHS},
            workers={"replicas": WORKERS, "progressDeadlineSeconds": DEADLINE},
            runPolicy={"startupDeadlineSeconds": 60},
            checkpoint={"everySeconds": 5},
        )
        return Coordinator(spec, "run")

    # -- steps -------------------------------------------------------------------------------------

    @rule(index=st.integers(0, WORKERS - 1), again=st.booleans())
    def a_worker_joins(self, index: int, again: bool) -> None:
        """`again`: another process, which knows of no lease."""
        if again or index not in self.held:
            self.incarnations += 1
            self.held[index] = []
            incarnation = self.incarnations
            self.lives[index] = incarnation
        if self.expected.stop:
            return  # shard 0 refuses it
        self.greet(index)

    def greet(self, index: int) -> None:
        self.chief.hello(index, self.lives[index], "", self.now)
        self.chief.describe_data(SIZE, "each once", b"[]")

    def members(self) -> list[int]:
        return sorted(index for index in self.chief.members if index in self.held)

    @precondition(lambda self: self.members())
    @rule(data=st.data())
    def a_worker_asks_for_data(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(self.members()))
        self.requests += 1
        granted = self.chief.lease(index, self.requests, self.now)
        assert granted == self.chief.lease(index, self.requests, self.now), "asked again, it is the same"
        if granted != Granted(wait=granted.wait, over=granted.over):
            self.held[index].append((granted.epoch, granted.start, granted.stop))

    @precondition(lambda self: any(self.held.values()))
    @rule(
        data=st.data(), verdict=st.sampled_from(["applied", "applied", "refused:stale", "refused:nonfinite"])
    )
    def a_push_arrives(self, data: st.DataObject, verdict: str) -> None:
        """Also one of a worker that was given up meanwhile: shard 0 makes it say hello again first."""
        index = data.draw(st.sampled_from(sorted(w for w, spans in self.held.items() if spans)))
        if index not in self.chief.members:
            if self.expected.stop:
                return
            self.greet(index)
        epoch, start, stop = self.held[index].pop(0)
        middle = min(stop, start + BATCH)
        if middle < stop and verdict == "applied":
            self.held[index].insert(0, (epoch, middle, stop))
        visits = [(epoch, start, middle if verdict == "applied" else stop)]
        before = self.chief.pool.revisited if self.chief.pool else 0
        self.chief.pushed(index, visits, visits[0][2] - start, 0.5, verdict, self.now)
        self.note_push(visits[0], verdict, before)

    def note_push(self, visit: Span, verdict: str, revisited: int) -> None:
        expected = self.expected
        expected.bad += verdict == "refused:nonfinite"
        samples = {(visit[0], i) for i in range(visit[1], visit[2])}
        skipped = self.chief.pool.skipped if self.chief.pool else 0
        if skipped > expected.skipped:
            assert verdict == "refused:nonfinite" and self.chief.pool is not None
            if self.chief.pool.revisited == revisited:
                expected.visited |= samples
        expected.skipped = skipped
        if verdict == "applied":
            expected.bad, expected.updates = 0, expected.updates + 1
            assert self.chief.pool is not None
            if self.chief.pool.revisited == revisited:
                assert not samples & expected.visited, "what is visited twice is counted as such"
                expected.visited |= samples
        expected.stop = expected.stop or self.chief.stop_reason
        if expected.bad >= max(10, 3 * len(self.chief.members)):
            assert self.chief.stop_reason != ""

    @precondition(lambda self: self.members())
    @rule(data=st.data(), lost=st.booleans())
    def a_worker_goes(self, data: st.DataObject, lost: bool) -> None:
        index = data.draw(st.sampled_from(self.members()))
        self.chief.bye(index, self.lives[index], lost, self.now)
        self.held.pop(index)

    @rule(seconds=st.sampled_from([1.0, 8.0, DEADLINE]), alive=st.booleans())
    def time_passes(self, seconds: float, alive: bool) -> None:
        """`alive`: heartbeats go on, and nothing else."""
        self.now += seconds
        for member in list(self.chief.members.values()) if alive else []:
            self.chief.heard(member.index, member.incarnation, self.now)
        self.chief.tick(self.now)
        self.expected.stop = self.expected.stop or self.chief.stop_reason
        if self.chief.save_asked is not None:
            self.a_save_is_complete()

    @rule(value=st.floats(0, 1))
    def an_evaluation_comes(self, value: float) -> None:
        self.chief.evaluated(self.expected.updates, {"accuracy": value}, False, self.now)
        self.expected.metrics = {"accuracy": value}

    @rule()
    def a_save_is_complete(self) -> None:
        self.saved = json.dumps(self.chief.state(self.now)), deepcopy(self.expected)
        self.chief.saved(self.now)

    @rule(latest=st.booleans())
    def shard_0_is_started_again(self, latest: bool) -> None:
        """From what memory kept of this moment, or from the newest save."""
        text = json.dumps(self.chief.state(self.now)) if latest else self.saved[0]
        self.expected = self.expected if latest else deepcopy(self.saved[1])
        self.expected.skipped = 0
        self.chief = self.fresh()
        self.chief.load(json.loads(text))
        self.saved = text, deepcopy(self.expected)

    # -- what holds --------------------------------------------------------------------------------

    @invariant()
    def every_sample_that_was_dealt_is_visited_or_open(self) -> None:
        pool, expected = self.chief.pool, self.expected
        if pool is None:
            assert not expected.visited
            return
        open_spans = [*pool.returned, *(span for spans in pool.leased.values() for span in spans)]
        still = [(epoch, i) for epoch, start, stop in open_spans for i in range(start, stop)]
        assert len(still) == len(set(still)), "no sample is dealt to two"
        assert not expected.visited & set(still)
        assert len(expected.visited) + len(still) == pool.cursor
        assert pool.visited == len(expected.visited)

    @invariant()
    def counts_and_reasons_stay(self) -> None:
        chief, expected = self.chief, self.expected
        assert (chief.updates, chief.stop_reason) == (expected.updates, expected.stop)
        assert (len(chief.divergence.refused), chief.metrics) == (expected.bad, expected.metrics)
        assert all(not chief.given_up(member.index, member.incarnation) for member in chief.members.values())

    def teardown(self) -> None:
        """Whatever was before: with one worker that works, the job comes to its end."""
        if self.chief.phase == "finished":
            return
        self.held.clear()
        for _ in range(500):
            if not self.expected.stop and 0 not in self.chief.members:
                self.a_worker_joins(0, True)
            if not self.expected.stop:
                self.works(0)
            self.time_passes(1.0, alive=False)
            if self.expected.stop and 0 in self.chief.members:
                self.chief.bye(0, self.lives[0], False, self.now)
            if self.chief.phase == "finished":
                break
        assert self.chief.phase == "finished", f"{self.chief.phase} for ever"
        if self.expected.stop == "epochs":
            assert len(self.expected.visited) == EPOCHS * SIZE

    def works(self, index: int) -> None:
        self.requests += 1
        granted = self.chief.lease(index, self.requests, self.now)
        if granted.stop and self.chief.pool:
            before = self.chief.pool.revisited
            visit = (granted.epoch, granted.start, granted.stop)
            self.chief.pushed(index, [visit], granted.stop - granted.start, 0.5, "applied", self.now)
            self.note_push(visit, "applied", before)


TestRestarts = Restarts.TestCase
TestRestarts.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


SAMPLES: dict[str, Any] = {
    "run": "run-7",
    "dataset": 64,
    "pool": None,
    "tensors": b'[["w", [2]]]',
    "guarantee": "each once",
    "stop_reason": "metric",
    "updates": 5,
    "samples": 40,
    "seconds": 12.5,
    "mean_loss": Mean(0.25, 0.5),
    "mean_scalars": {"kl": Mean(0.125, 0.25)},
    "stop_detail": "it is good enough",
    "divergence": Divergence([0, 1], [2], [3], 4, 0.5, {5}),
    "diverged_by": [1, 0],
    "rollbacks": 2,
    "rollback_detail": "it diverged; the job went back",
    "back_at": 40,
    "diverged_at": 55,
    "suspects": {1},
    "metrics": {"accuracy": 0.75},
    "metrics_at": 4,
    "evaluated_at": Counts(4, 0.5),
    "best": BestView("accuracy", 0.75, 4, 32, "/best"),
    "patience": Patience("loss", "min", 0.5, 10, 3, 40),
    "evaluations_failed": 2,
    "evaluation_error": "it failed",
    "restarts": {"worker": 2, "server": 1},
    "finished_loops": {1, 2},
    "seen": {0, 1, 2},
    "lost": {1},
    "notices": Notices([Notice(9, "a thing")]),
    "agreement": Agreement(Told(b"told", "worker 1"), Told(b"too", "worker 0")),
}


def full() -> Coordinator:
    """A coordinator in which nothing that is kept has the value that it begins with."""
    chief = Coordinator(job_spec(batchSize=8), "run-7")
    for name in Kept.__struct_fields__:
        if name not in ("seconds", "pool"):
            setattr(chief, name, deepcopy(SAMPLES[name]))
    chief.seconds_before = SAMPLES["seconds"]
    chief.pool = Pool(64, 8, 2.0)
    chief.pool.lease(0, 2)
    chief.pool.visited, chief.pool.revisited = 4, 3
    return chief


@pytest.mark.parametrize("name", Kept.__struct_fields__)
@pytest.mark.parametrize("run", ["run-7", "run-8"])
def test_what_is_listed_as_kept_is_kept_and_what_is_of_one_run_begins_anew_in_another(
    name: str, run: str
) -> None:
    before, after = full(), Coordinator(job_spec(batchSize=8), run)
    after.load(json.loads(json.dumps(before.state(99.0))))
    attribute = "seconds_before" if name == "seconds" else name
    if name == "run":
        assert after.run == run
    elif name == "pool":
        assert after.pool is not None and before.pool is not None
        assert after.pool.state() == before.pool.state()
    elif run == "run-8" and name == "agreement":
        assert after.agreement == Agreement(
            Told(b"told", "worker 1", earlier=True), Told(b"too", "worker 0", earlier=True)
        )
    elif run == "run-8" and name == "patience":
        assert after.patience == Patience("loss", "min", 0.5, 10, 0, 40), "evaluations are counted anew"
    elif run == "run-8" and name in RUN_BOUND:
        assert getattr(after, name) == getattr(Coordinator(job_spec()), name)
    else:
        assert (
            getattr(after, attribute)
            == getattr(before, attribute)
            != getattr(Coordinator(job_spec()), attribute)
        )
