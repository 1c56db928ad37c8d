"""What shard 0 tells Prometheus of the whole job: figures that exist, and of workers only of those that are members."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from asgd.algorithms.registry import strategy
from asgd.server.job_metrics import WORKERS_MOST, collect
from asgd.server.metrics import STALENESS_BUCKETS, _staleness
from asgd.server.shard import Shard
from asgd.spec import job_from_json
from asgd.spec.status import Advice, CheckpointView, Status, WorkerView

SPEC = job_from_json(
    b'{"metadata": {"name": "digits"}, "spec": {"entrypoint": "m:f", "exchange": {"staleness": {"max": 10}}}}'
).spec


def told(**changes: Any) -> dict[tuple[str, ...], float]:
    """{(family, its label): value} of a job whose status has these fields."""
    status = Status(algorithm="asgd", phase="running", **changes)
    return {
        (family.name.removeprefix("asgd_server_"), *sample.labels.values()): sample.value
        for family in collect(status, SPEC)
        for sample in family.samples
    }


def worker(index: int, state: str = "running", **changes: Any) -> WorkerView:
    return WorkerView(index=index, state=state, joined=0.0, **changes)


def test_what_is_not_known_has_no_series() -> None:
    found = {name for name, *_ in told(metrics={"accuracy": None}, loss=float("nan"))}
    assert not found & {
        "loss",
        "progress_ratio",
        "eta_seconds",
        "checkpoint_age_seconds",
        "evaluation",
        "advised_workers",
    }
    assert told(checkpoint=CheckpointView(seconds_ago=7.0))["checkpoint_age_seconds",] == 7
    assert told(advice=Advice(6, "because"))["advised_workers",] == 6


def test_series_of_a_worker_end_when_it_leaves_and_its_next_start_goes_on_in_them() -> None:
    gone, again = worker(1, "hung", incarnation=1), worker(1, incarnation=2, pushes=3, staleness_total=5)
    before = told(workers=[worker(0), gone])
    assert {key for key in before if "1" in key[1:]} == set()
    assert (before["workers", "hung"], before["workers", "running"]) == (1, 1)
    after = told(workers=[worker(0), gone, again])
    assert (after["workers", "hung"], after["workers", "running"]) == (0, 2)
    assert after["worker_staleness_updates", "1"] == 5
    assert after["worker_updates", "1"] == 3


def test_series_of_workers_have_an_upper_bound() -> None:
    many = told(workers=[worker(index) for index in range(WORKERS_MOST + 7)])
    assert len([name for name, *_ in many if name == "worker_updates"]) == WORKERS_MOST
    assert many["workers", "running"] == WORKERS_MOST + 7


def test_an_evaluation_that_failed_is_told_until_one_succeeds() -> None:
    assert told(evaluation_error="evaluate raised", evaluations_failed=2)["evaluation_failing",] == 1
    assert told(evaluations_failed=2)["evaluation_failing",] == 0


def test_the_bound_of_staleness_is_a_bucket_so_that_pushes_above_it_can_be_counted() -> None:
    def limits(bound: int | None) -> list[float]:
        exchange = replace(SPEC.exchange, staleness=replace(SPEC.exchange.staleness, max=bound))
        spec = replace(SPEC, exchange=exchange)
        samples = _staleness(Shard(spec, strategy("asgd").server(spec), 0, 1, 1)).samples
        return [float(sample.labels["le"]) for sample in samples if "le" in sample.labels]

    assert limits(None)[:-1] == list(STALENESS_BUCKETS)
    assert limits(10)[:-1] == sorted({*STALENESS_BUCKETS, 10})
    assert limits(16) == limits(None), "one that is there already stands once"
