"""Metrics of all three kinds of process as Prometheus' own linter sees them, and how many series they can become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from tools.exposition import families, text

from asgd.server.traffic import LABELS_MOST, Traffic
from asgd.spec import job_from_json
from asgd.worker.meters import Meters
from asgd_operator.metrics import FINISHED_SECONDS, JobFigures, JobSeries
from asgd_operator.plan import times
from tests.chart.promtool import promtool

KINDS = ("operator", "server", "worker")


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_units_please_the_linter_of_prometheus(kind: str) -> None:
    found = families()[kind]
    ours = (f"asgd_{kind}_", "process_")  # the second is every Prometheus client's
    assert [family.name for family in found if not family.name.startswith(ours)] == []
    assert promtool("check", "metrics", given=text(found)) == ""


def test_the_linter_is_heard() -> None:
    assert "counter metrics should have" in promtool(
        "check", "metrics", given=b"# HELP a b\n# TYPE a counter\na 1\n"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_process_tells_its_versions(kind: str) -> None:
    (info,) = (family for family in families()[kind] if family.name == f"asgd_{kind}_build_info")
    (sample,) = info.samples
    assert sample.value == 1
    assert {"version", "python"} < sample.labels.keys()
    assert all(sample.labels.values())


def series(found: Any, name: str = "") -> list[dict[str, str]]:
    return [dict(s.labels) for family in found for s in family.samples if family.name.startswith(name)]


def test_series_of_a_worker_grow_with_the_shards_alone() -> None:
    def count(shards: int, steps: int) -> int:
        made = Meters()
        made.versions, made.ways = tuple(range(shards)), lambda: ["tcp"] * shards
        for _ in range(steps):
            made.step(32, 0.5)
        return len(series(made.collect()))

    assert count(9, 1) - count(1, 1) == 2 * 8
    assert count(1, 50) == count(1, 1)


def test_series_of_workers_on_a_server_are_bounded_and_end_when_they_leave() -> None:
    traffic = Traffic()
    traffic.refuse("evaluator 0", "bug")
    for worker in range(3 * LABELS_MOST):
        traffic.refuse(f"worker {worker}", "bug")
    assert len(traffic.refused) <= LABELS_MOST + 1
    before = traffic.refused_by_reason
    traffic.only({3: 1})
    assert {peer for peer, _ in traffic.refused} == {"worker 3", "evaluator 0", "other"}
    assert traffic.refused_by_reason == before, "none is lost"


def figures(phase: str, ended: str = "", **conditions: str) -> JobFigures:
    status = {"phase": phase, "conditions": [{"type": t, "status": s} for t, s in conditions.items()]}
    return JobFigures.of(status | ({"completionTime": ended} if ended else {}))


def names(found: list[Metric]) -> set[tuple[str, str]]:
    """(family, job) of every series."""
    return {(family.name, s.labels["name"]) for family in found for s in family.samples if "name" in s.labels}


def test_a_condition_has_a_series_for_each_status_as_kube_state_metrics_has_it() -> None:
    made = JobSeries()
    made.jobs["n", "x"] = figures("Running", Running="True", Degraded="Unknown")
    registry = CollectorRegistry()
    registry.register(made)

    def value(kind: str, status: str) -> float | None:
        labels = {"namespace": "n", "name": "x", "type": kind, "status": status}
        return registry.get_sample_value("asgd_operator_job_condition", labels)

    assert [value("Running", status) for status in ("true", "false", "unknown")] == [1, 0, 0]
    assert [value("Degraded", status) for status in ("true", "false", "unknown")] == [0, 0, 1]


def reasons(made: JobSeries) -> set[tuple[str, str]]:
    return {(s["type"], s["reason"]) for s in series(made.collect(), "asgd_operator_job_reason")}


def test_only_conditions_that_need_a_look_tell_their_reason() -> None:
    made = JobSeries()
    conditions = [
        {"type": "Accepted", "status": "True", "reason": "Valid"},
        {"type": "Running", "status": "False", "reason": "WaitingForWorkers"},
        {"type": "Suspended", "status": "False", "reason": "NotSuspended"},
        {"type": "Degraded", "status": "True", "reason": "WorkerHung"},
        {"type": "Failed", "status": "Unknown", "reason": "NotObserved"},
    ]
    made.jobs["n", "x"] = JobFigures.of({"phase": "WaitingForWorkers", "conditions": conditions})
    assert reasons(made) == {("Running", "WaitingForWorkers"), ("Degraded", "WorkerHung")}
    over = [{"type": "Failed", "status": "True", "reason": "Diverged"}, conditions[3]]
    now = times.write(datetime.now(UTC))
    made.jobs["n", "x"] = JobFigures.of({"phase": "Failed", "conditions": over, "completionTime": now})
    assert reasons(made) == {("Failed", "Diverged")}


def test_devices_are_those_of_workers_that_are_ready_and_a_job_without_has_no_series() -> None:
    spec = job_from_json(
        b'{"metadata": {"name": "x"}, "spec": {"entrypoint": "m:f", "workers": {"devices": {"count": 2}}}}'
    ).spec
    made = JobSeries()
    status = {"phase": "Running", "conditions": [], "workers": {"ready": 3, "desired": 4}}
    made.jobs["n", "gpu"], made.jobs["n", "cpu"] = JobFigures.of(status, spec), JobFigures.of(status)
    (found,) = (family for family in made.collect() if family.name == "asgd_operator_job_devices")
    assert [(s.labels["name"], s.labels["resource"], s.value) for s in found.samples] == [
        ("gpu", "nvidia.com/gpu", 6)
    ]


def test_the_advised_number_of_workers_stands_beside_those_that_are_there_while_there_is_advice() -> None:
    made = JobSeries()
    status = {"phase": "Running", "conditions": [], "workers": {"ready": 3, "desired": 4}}
    made.jobs["n", "a"] = JobFigures.of(status | {"training": {"advisedWorkers": 8}})
    made.jobs["n", "b"] = JobFigures.of(status)
    shown = series(made.collect(), "asgd_operator_job_workers")
    assert sorted((labels["name"], labels["state"]) for labels in shown) == [
        ("a", "advised"), ("a", "desired"), ("a", "ready"), ("b", "desired"), ("b", "ready"),
    ]  # fmt: skip


def test_of_a_job_that_is_over_its_verdict_stays_for_an_hour_and_nothing_else() -> None:
    now, ended = [0.0], "2026-11-01T12:00:00Z"
    made = JobSeries(clock=lambda: now[0])
    made.jobs["n", "over"] = figures("Failed", ended, Failed="True", Complete="False", Running="False")
    made.jobs["n", "going"] = figures("Running", Failed="False", Running="True")
    end = times.read(ended)
    assert end is not None
    now[0] = end.timestamp() + FINISHED_SECONDS - 1
    shown = {s["type"] for s in series(made.collect(), "asgd_operator_job_condition") if s["name"] == "over"}
    assert shown == {"Failed", "Complete"}
    mine = {name for name, job in names(list(made.collect())) if job == "over"}
    assert mine == {"asgd_operator_job_condition", "asgd_operator_job_reason"}
    now[0] += 2
    assert {job for _, job in names(list(made.collect()))} == {"going"}
    assert {s["phase"] for s in series(made.collect(), "asgd_operator_jobs")} == {"Failed", "Running"}
