"""A job that is followed or waited for: what is worth a line, and when it is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asgd.client.errors import ApiError
from asgd.client.following import Follower, notes
from asgd.client.waiting import Wait, verdict
from asgd.spec.status import Status
from tests.unit.client.cluster import Cluster, condition, ended, job


class Screen:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, status: Status) -> None:
        self.lines.append(f"{status.updates} updates")

    def note(self, text: str) -> None:
        self.lines.append(text)

    def waiting(self, text: str) -> None:
        self.lines.append(f"({text})")


def test_a_change_of_phase_is_worth_a_line_and_what_stays_is_not() -> None:
    starts, runs = job(phase="Starting"), job(phase="Running")
    assert [*notes(None, starts)] == ["digits starts"]
    assert [*notes(starts, starts)] == []
    assert [*notes(starts, runs)] == ["digits trains"]
    assert [*notes(runs, job(phase="WaitingForWorkers"))] == ["digits waits for workers"]
    assert [*notes(runs, job(phase="WaitingForWorkers"), trained=True)] == []


def test_a_degraded_job_and_a_failed_container_are_warned_about_once() -> None:
    failure = {"pod": "p", "reason": "OOMKilled", "exitCode": 137, "message": "a\nb"}
    bad = job(
        conditions=[condition("Degraded", reason="WorkerHung", message="Worker 3 hangs.")],
        lastFailure=failure,
    )
    assert [*notes(job(), bad)] == [
        "warning: WorkerHung: Worker 3 hangs.",
        "warning: p failed (OOMKilled, exit code 137): a b",
    ]
    assert [*notes(bad, bad)] == []
    assert [*notes(job(), job(conditions=[condition("Degraded", reason="FewerThanDesired")]))] == []


def test_a_job_is_followed_from_its_start_to_its_end() -> None:
    cluster, screen = Cluster(job(phase="Starting", message="0 of 1 servers.")), Screen()
    later = [job(phase="Running"), ended()]
    told = Status(job="digits", phase="running", algorithm="asgd", updates=7)
    cluster.served["digits-server-0"] = msgspec.json.encode(told)

    def sleep(seconds: float) -> None:
        cluster.put(later.pop(0))

    seen: list[Status] = []
    found = Follower(cluster.access(), "digits", screen, seen.append, sleep=sleep).follow()
    assert found is not None and found["status"]["phase"] == "Succeeded"
    assert screen.lines == ["digits starts", "(0 of 1 servers.)", "digits trains", "7 updates"]
    assert seen == [told]


def test_a_job_that_is_deleted_or_never_accepted_ends_the_wait_with_a_sentence() -> None:
    cluster = Cluster(job())
    with pytest.raises(ApiError, match="digits is gone: somebody has deleted it"):
        Follower(cluster.access(), "digits", Screen(), sleep=lambda _: cluster.objects.clear()).follow()
    invalid = job(conditions=[condition("Accepted", "False", "InvalidSpec", "spec.seed is odd.")])
    with pytest.raises(ApiError, match=r"digits is not accepted: spec.seed is odd."):
        Follower(Cluster(invalid).access(), "digits", Screen()).follow()


def test_a_condition_that_will_not_come_any_more_ends_the_wait() -> None:
    assert verdict(job(conditions=[condition("Running")]), "Running", "True") == ""
    assert verdict(job(), "Running", "True") is None
    failed = ended(end="Failed", reason="Diverged")
    assert "digits is Failed (Diverged) and will not become Complete=True" in (
        verdict(failed, "Complete", "True") or ""
    )
    assert verdict(failed, "Failed", "True") == ""


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [("Complete", "timed out waiting for the condition Complete=True on asgdjobs/digits after 3s")],
)
def test_a_wait_ends_in_time(wish: str, sentence: str) -> None:
    time = [0.0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    def clock() -> float:
        return time[0]

    wait = Wait(Cluster(job()).access(), "digits", 3, clock=clock, sleep=sleep)
    with pytest.raises(ApiError, match=sentence) as told:
        wait.until(wish)
    assert told.value.exit_code == 1 and time[0] == 3.0


def test_a_follower_gives_up_when_its_time_is_over() -> None:
    times: Any = iter(range(100))
    follower = Follower(
        Cluster(job()).access(), "digits", Screen(), sleep=lambda _: None, clock=lambda: next(times)
    )
    assert follower.follow(5) is None
