"""What is asked of the cluster for an explanation, and that an explanation is given whatever cannot be had."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asgd.client.access import Access
from asgd.client.cli import main
from asgd.client.errors import Forbidden, NotFound
from asgd.client.explain.gathering import LINES, gather
from asgd.spec.status import Status
from tests.unit.client.seen import real


class Pretended:
    """A cluster with the job of a captured document. `forbidden`: what this user may not read."""

    def __init__(self, name: str, *forbidden: str) -> None:
        self.facts, _ = real(name)
        self.namespace = self.facts.namespace
        self.asked: list[str] = []
        self._forbidden = forbidden

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self._forbidden:
            raise Forbidden(f"Error from server (Forbidden): {what} is forbidden", 403, "Forbidden")

    def job(self, name: str) -> dict[str, Any]:
        self._ask("job")
        if self.facts.job is None or name != self.facts.name:
            raise NotFound(f'Error from server (NotFound): asgdjobs.asgd.dev "{name}" not found', 404)
        return dict(self.facts.job)

    def pods(self, job: str, role: str = "") -> list[dict[str, Any]]:
        self._ask("pods")
        return [dict(pod) for pod in self.facts.pods]

    def events(self, about: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        self._ask("events")
        other = {"reason": "FailedMount", "message": "x", "involvedObject": {"kind": "Pod", "name": "other"}}
        return [other, *(dict(event) for event in self.facts.events)]

    def logs(self, pod: str, *, tail: int | None = None) -> Iterator[str]:
        self._ask("logs")
        assert tail == LINES
        yield from self.facts.logs[pod].splitlines()

    def shard_of(self, job: object) -> Callable[[], Status | None]:
        told = iter([self.facts.earlier, self.facts.report])

        def ask() -> Status | None:
            self.asked.append("shard")
            return next(told)

        return ask


def test_a_job_that_trains_well_costs_two_looks_at_shard_0_and_no_events() -> None:
    cluster, pauses = Pretended("slow-worker"), []
    found = gather(cluster, "slow-worker", cluster.shard_of, pause=pauses.append)
    assert cluster.asked == ["job", "pods", "shard", "shard"] and pauses == [found.apart]
    assert found.report == cluster.facts.report and found.earlier == cluster.facts.earlier


def test_a_job_that_does_not_run_is_told_without_shard_0() -> None:
    cluster = Pretended("no-memory")
    gather(cluster, "no-memory", cluster.shard_of)
    assert cluster.asked == ["job", "pods", "events"]


def test_a_job_that_is_over_is_asked_for_once() -> None:
    cluster = Pretended("raises")
    gather(cluster, "raises", cluster.shard_of)
    assert cluster.asked == ["job"]


def test_the_log_of_a_pod_that_does_not_join_is_read_and_events_of_others_are_left_out() -> None:
    cluster = Pretended("hangs")
    found = gather(cluster, "hangs", cluster.shard_of, pause=lambda seconds: None)
    assert list(found.logs.values()) == ["waiting for a lock"]
    assert all(event["involvedObject"]["name"] != "other" for event in found.events)


def test_a_job_that_is_not_there_is_an_answer() -> None:
    cluster = Pretended("raises")
    assert gather(cluster, "nothing", cluster.shard_of).job is None


@pytest.mark.parametrize("forbidden", [("pods",), ("events", "logs"), ("pods", "events", "logs")])
def test_what_may_not_be_read_is_left_out_of_the_judgement(forbidden: tuple[str, ...]) -> None:
    cluster = Pretended("hangs", *forbidden)
    found = gather(cluster, "hangs", cluster.shard_of, pause=lambda seconds: None)
    assert found.job is not None and not found.logs


def test_a_job_that_may_not_be_read_is_an_error_in_the_api_servers_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("hangs", "job") == 1
    assert capsys.readouterr().err == "Error from server (Forbidden): job is forbidden\n"


def test_the_command_prints_sentence_fix_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no-memory") == 0
    sentence, fix, command = capsys.readouterr().out.splitlines()
    assert sentence.startswith("no-memory is not running: no node takes no-memory-worker-0-")
    assert fix.startswith("Fix: Ask for less in workers.resources.requests.memory (900Gi now), ")
    assert command.startswith("  kubectl get nodes -o ")


def test_a_job_that_is_not_there_ends_the_command_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    cluster: Any = Pretended("raises")
    assert main(["explain", "nothing"], connect=lambda **place: cluster) == 1
    assert capsys.readouterr().out.startswith(
        "nothing is not running: there is no AsgdJob nothing in namespace"
    )


def test_as_json_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quota", words=("-o", "json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["cause"]) == ("not running", "quota")


def run(name: str, *forbidden: str, words: tuple[str, ...] = ()) -> int:
    cluster: Any = Pretended(name, *forbidden)

    def connect(**place: Any) -> Access:
        found: Access = cluster
        return found

    return main(["explain", name, *words], connect=connect)
