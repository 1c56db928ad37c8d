"""A worker that lives and does nothing: named, then given up; and who waits for others is never taken for one."""

from __future__ import annotations

from typing import Any

from asgd.server.coordinator import Coordinator
from asgd.server.membership import SHARD_SILENT_SECONDS
from asgd.server.progress import BRING_SECONDS, LEAST_SECONDS, SLOW_TIMES
from asgd.server.waiting import waiting_for
from asgd.wire.messages import Granted
from tests.checks.harness import job_spec

STARTUP = 1800.0
Span = tuple[int, int, int]


class Job:
    """A coordinator whose clock goes in steps of a second; all workers that are not `dead` send heartbeats."""

    def __init__(self, workers: int = 2, dataset: int | None = 640, **fields: Any) -> None:
        spec = job_spec(**{"batchSize": 8, "stopAfter": {"updates": 10_000}, **fields})
        self.chief = Coordinator(spec)
        self.now = 0.0
        self.requests = 0
        self.hung: list[int] = []
        for index in range(workers):
            self.hello(index)
        self.chief.describe_data(dataset, "", b"[]")

    def hello(self, index: int, incarnation: int = 1, brings: bool = False) -> None:
        self.chief.hello(index, incarnation, "", self.now, brings)

    def lease(self, index: int) -> Granted:
        self.requests += 1
        return self.chief.lease(index, self.requests, self.now)

    def push(self, index: int, verdict: str = "applied", visits: tuple[Span, ...] = ()) -> None:
        self.chief.pushed(index, list(visits), 8, 0.5, verdict, self.now)

    def step(self, index: int) -> None:
        """One lease, visited by one push."""
        granted = self.lease(index)
        visits = () if granted.wait else ((granted.epoch, granted.start, granted.stop),)
        self.push(index, visits=visits)

    def wait(self, seconds: float, *busy: int) -> None:
        """Time passes; workers `busy` make a step each second, the others send heartbeats alone."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 1)
            for member in list(self.chief.members.values()):
                self.chief.heard(member.index, member.incarnation, self.now)
            for index in busy:
                self.step(index)
            self.hung += [member.index for member in self.chief.tick(self.now) if member.state == "hung"]

    @property
    def waits(self) -> str:
        return waiting_for(self.chief, "", self.now)


def trained(**fields: Any) -> Job:
    """Two workers after a minute of training in which each made a step a second."""
    job = Job(**fields)
    job.wait(60, 0, 1)
    assert job.hung == []
    return job


def test_a_worker_that_hangs_is_named_and_then_loses_its_samples_and_its_membership() -> None:
    job = trained()
    lost = job.lease(1)
    count = lost.stop - lost.start
    job.wait(LEAST_SECONDS / 2, 0)
    assert job.waits == ""
    job.wait(2, 0)
    assert (
        job.waits
        == f"worker 1 holds {count} samples and has pushed nothing for 30 s; it is given up after 60 s"
    )
    job.wait(LEAST_SECONDS / 2 - 2, 0)
    assert job.hung == []
    job.wait(1, 0)
    assert job.hung == [1]
    assert (list(job.chief.members), job.chief.held(1)) == ([0], 0)
    assert job.lease(0) == lost
    said = f"worker 1 holds {count} samples and has pushed nothing for 61 s"
    assert [notice.text.partition(":")[0] for notice in job.chief.notices.newest] == [said]
    assert job.chief.given_up(1, 1).startswith(said)
    assert job.chief.given_up(1, 2) == "", "its successor is another process"
    assert (job.chief.lost, job.chief.past[-1].state) == ({1}, "hung")


def test_its_successor_joins_as_after_any_death_and_counts_as_a_restart() -> None:
    job = trained()
    job.lease(1)
    job.wait(62, 0)
    job.hello(1, incarnation=2)
    assert (job.chief.given_up(1, 1), job.chief.restarts["worker"]) == ("", 1)
    assert job.lease(1) != Granted(wait=True)


def test_a_worker_that_was_only_slow_joins_again_and_its_late_push_counts_once() -> None:
    job = Job(dataset=16, stopAfter={"epochs": 1}, workers=2)
    job.step(0)
    job.push(1)
    granted = job.lease(1)
    job.wait(62)
    assert 1 in job.hung
    job.hello(1)
    assert job.chief.given_up(1, 1) == ""
    job.push(1, visits=((granted.epoch, granted.start, granted.stop),))
    pool = job.chief.pool
    assert pool is not None and (pool.visited, pool.revisited) == (16, 0)
    assert job.chief.stop_reason == "epochs"


def test_the_deadline_of_the_job_file_wins_over_the_derived_one() -> None:
    job = trained(workers=2)
    job.chief.change(job_spec(batchSize=8, workers={"progressDeadlineSeconds": 5}))
    job.lease(1)
    job.wait(5, 0)
    assert job.hung == []
    job.wait(1, 0)
    assert job.hung == [1]


def test_a_worker_whose_steps_are_slow_has_so_many_of_them_until_it_is_given_up() -> None:
    job = Job(workers=1)
    job.push(0)
    for _ in range(3):
        job.wait(20)
        job.step(0)
    limit = SLOW_TIMES * 20
    job.lease(0)
    job.wait(limit - 10)
    assert job.hung == []
    job.wait(11)
    assert job.hung == [0]


def test_the_first_step_may_compile_for_as_long_as_the_job_may_take_to_start() -> None:
    job = Job(workers=1)
    job.lease(0)
    job.wait(STARTUP)
    assert job.hung == []
    job.wait(1)
    assert job.hung == [0]


def test_a_compile_in_the_first_step_gives_later_ones_time_to_compile_again() -> None:
    job = Job(workers=1)
    job.wait(200)
    job.step(0)
    job.wait(10)
    job.step(0)
    job.lease(0)
    job.wait(390)
    assert job.hung == []
    job.wait(20)
    assert job.hung == [0]


def test_a_push_that_is_refused_is_progress_too() -> None:
    job = trained()
    for _ in range(200):
        job.wait(1, 0)
        job.push(1, verdict="refused:stale")
    assert job.hung == []


def test_a_worker_without_data_waits_for_it_as_long_as_others_hold_it() -> None:
    job = Job(dataset=8, stopAfter={"epochs": 1})
    job.push(0)
    job.push(1)
    job.lease(0)
    assert job.lease(1) == Granted(wait=True)
    for _ in range(500):
        job.wait(1)
        job.chief.active(0, job.now)  # a long push on its way
    assert job.hung == []


def test_a_worker_whose_pull_is_held_back_waits_for_others() -> None:
    job = trained()
    job.chief.parked(1)
    job.wait(500, 0)
    assert job.hung == []
    job.chief.active(1, job.now)
    job.wait(LEAST_SECONDS, 0)
    assert job.hung == []
    job.wait(1, 0)
    assert job.hung == [1]


def test_while_a_shard_is_away_nobody_is_to_blame() -> None:
    job = trained()
    job.chief.shard_heard(1, job.now)
    job.wait(500)
    assert job.waits == "no push has come for 500 s: shard 1 does not report"
    for _ in range(int(LEAST_SECONDS - SHARD_SILENT_SECONDS) - 1):
        job.chief.shard_heard(1, job.now)
        job.wait(1)
    assert job.hung == []
    for _ in range(int(SHARD_SILENT_SECONDS) + 2):
        job.chief.shard_heard(1, job.now)
        job.wait(1)
    assert job.hung == [0, 1]


def test_a_worker_that_rests_and_holds_samples_that_it_never_pushes_is_given_up() -> None:
    job = Job(dataset=8, workers=2, stopAfter={"epochs": 1})
    job.push(0)
    job.push(1)
    job.lease(1)
    for _ in range(62):
        assert job.lease(1) == Granted(wait=True)
        job.wait(1, 0)
        if job.chief.stop_reason:
            break
    assert job.hung == [1]
    assert job.chief.stop_reason == "epochs"


def test_time_in_which_the_server_stood_still_is_no_ones_idleness() -> None:
    job = trained()
    job.lease(1)
    job.now += 500
    job.chief.excuse(500, job.now)
    job.wait(59, 0)
    assert job.hung == []


def test_another_worker_brings_the_initial_weights_when_the_first_one_does_not() -> None:
    job = Job(workers=0, dataset=None)
    job.hello(0, brings=True)
    for _ in range(int(BRING_SECONDS)):
        job.hello(1)  # who waits for weights says hello again and again
        job.wait(1)
    assert job.waits == "worker 0 brings the initial weights"
    job.wait(1)
    assert job.hung == [0]
    assert job.chief.notices.newest[-1].text.startswith(
        "worker 0 was asked for the initial weights and has sent nothing for 61 s"
    )


def test_a_model_that_takes_long_to_send_is_not_given_up_while_it_comes() -> None:
    job = Job(workers=0, dataset=None)
    job.hello(0, brings=True)
    for _ in range(10):
        job.wait(50)
        job.chief.brought(0, job.now)
    assert job.hung == []
    job.chief.active(0, job.now)  # it pulls: what it owes now is a first step
    job.wait(1000)
    assert job.hung == []


def test_own_loops_may_do_other_things_between_two_pushes() -> None:
    job = Job(workers=1, dataset=None, runPolicy={"progressDeadlineSeconds": 600})
    job.wait(10)
    job.push(0)
    job.wait(600)
    assert job.hung == []
    job.wait(1)
    assert job.hung == [0]
    assert job.chief.notices.newest[-1].text == (
        "worker 0 has pushed nothing for 601 s: nobody waits for it, it has to end"
    )


def test_a_process_that_hung_before_shard_0_was_started_anew_is_told_to_end() -> None:
    job = Job(workers=1)
    job.wait(10, 0)
    for _ in range(int(STARTUP) + 1):
        job.wait(1, 0)
        assert not job.chief.heard(1, 7, job.now)
    assert job.chief.given_up(1, 7) == ""
    job.wait(1, 0)
    job.chief.heard(1, 7, job.now)
    assert job.chief.given_up(1, 7) == "worker 1 lives and has not joined for 1801 s: it has to end"


def test_nobody_is_given_up_while_the_job_ends() -> None:
    job = trained()
    job.lease(1)
    job.chief.stop("interrupted", job.now)
    job.chief.spec = job_spec(workers={"drainSeconds": 3000})
    job.wait(500)
    assert job.hung == []
