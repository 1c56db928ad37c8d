"""Prometheus metrics of a whole job, told by shard 0 alone (prefix asgd_server_): the status that it has built last.

They say of each trouble by itself what the job's condition Degraded says of the first. Series of workers are those of
members: they end when a worker leaves, and at `WORKERS_MOST`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from asgd.server.traffic import LABELS_MOST
from asgd.spec.status import Status, WorkerView
from asgd.spec.types import JobSpec

WORKERS_MOST = LABELS_MOST
"""Members that have series of their own: those with the lowest indices."""
STATES = ("running", "stalled", "hung", "lost", "left")


def collect(told: Status, spec: JobSpec) -> Iterator[Metric]:
    """All metrics of the job whose newest status is `told`; `spec` with its live fields."""
    info = GaugeMetricFamily("asgd_server_job_info", "1, with the job's strategy.", labels=["algorithm"])
    info.add_metric([told.algorithm], 1)
    yield info
    yield from _learning(told)
    yield from _workers(told)
    yield from _saves(told, spec)


def _learning(told: Status) -> Iterator[Metric]:
    yield from _maybe("loss", "Recent mean training loss.", told.loss)
    yield _gauge("epochs", "Passes over the data; 0 for streams, which have no size.", told.epochs)
    yield from _maybe(
        "progress_ratio", "Progress towards the stop rule that is reached first.", told.progress
    )
    yield from _maybe("eta_seconds", "Until that rule is reached, at the present rate.", told.eta_seconds)
    advised = float(told.advice.workers) if told.advice else None
    yield from _maybe("advised_workers", "So many workers learn as fast as any more would.", advised)
    evaluation = GaugeMetricFamily(
        "asgd_server_evaluation", "What the newest evaluation has given, by metric.", labels=["metric"]
    )
    for name, value in told.metrics.items():
        if value is not None:
            evaluation.add_metric([name], value)
    yield evaluation
    failed = "Evaluations that raised, or gave no numbers."
    yield CounterMetricFamily("asgd_server_evaluations_failed", failed, value=told.evaluations_failed)
    failing = float(bool(told.evaluation_error))
    yield _gauge("evaluation_failing", "1 while the newest evaluation is one that failed.", failing)


def _workers(told: Status) -> Iterator[Metric]:
    newest = {worker.index: worker for worker in told.workers}
    counts = Counter(worker.state for worker in newest.values())
    states = GaugeMetricFamily(
        "asgd_server_workers",
        "Workers by what became of the newest start of each; the oldest that ended are not counted.",
        labels=["state"],
    )
    for state in STATES:
        states.add_metric([state], counts[state])
    yield states
    yield _gauge(
        "rejected_workers",
        "Workers that the strategy does not listen to for now.",
        len(told.rejected_workers),
    )
    yield _gauge(
        "suspect_workers",
        "Workers of whom a push was refused in the last five minutes, as not finite or out of all bounds.",
        len(told.refused_lately),
    )
    members = sorted((w for w in newest.values() if w.alive), key=lambda worker: worker.index)
    yield from _members(members[:WORKERS_MOST])


def _members(members: Iterable[WorkerView]) -> Iterator[Metric]:
    idle = GaugeMetricFamily(
        "asgd_server_worker_idle_seconds",
        "How long a member has made no progress although it owes some.",
        labels=["worker"],
    )
    pushes = CounterMetricFamily(
        "asgd_server_worker_updates", "Pushes of a member that were accepted.", labels=["worker"]
    )
    staleness = CounterMetricFamily(
        "asgd_server_worker_staleness_updates",
        "Sum of the staleness of a member's accepted pushes.",
        labels=["worker"],
    )
    for worker in members:
        place = [str(worker.index)]
        idle.add_metric(place, worker.idle_seconds)
        pushes.add_metric(place, worker.pushes)
        staleness.add_metric(place, worker.staleness_total)
    yield from (idle, pushes, staleness)


def _saves(told: Status, spec: JobSpec) -> Iterator[Metric]:
    age = told.checkpoint.seconds_ago if told.checkpoint else None
    yield from _maybe("checkpoint_age_seconds", "Age of the newest complete checkpoint of the job.", age)
    interval = spec.checkpoint.seconds or None
    yield from _maybe("checkpoint_interval_seconds", "How often one is asked for, where by time.", interval)
    bound = spec.exchange.staleness.max
    yield from _maybe("staleness_bound_updates", "exchange.staleness.max, where it is set.", bound)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"asgd_server_{name}", text, value=value)


def _maybe(name: str, text: str, value: float | None) -> Iterator[Metric]:
    """No series while there is no such figure."""
    if value is not None and math.isfinite(value):
        yield _gauge(name, text, value)
