"""All metrics of the operator, `asgd_operator_*` and its process's `process_*`, in a registry of their own.

Series of a job are made at each scrape from the status that was last written, and go with the job: a counter
that outlives its object counts nothing. Of a job that is over only its verdict is shown, and that for an hour: finished
jobs stay in a cluster by the thousand. No label repeats what the scrape adds.
"""

from __future__ import annotations

import platform
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asgd.spec import schema
from asgd.spec.types import JobSpec
from asgd.tracing.counted import Counted, spans_metric
from asgd_operator import __version__
from asgd_operator.constants import KSTATUS, Condition, Role
from asgd_operator.errors import OperatorError
from asgd_operator.plan import times
from asgd_operator.plan.actions import Plan
from asgd_operator.plan.model import Observed

PREFIX = "asgd_operator_"
FINISHED_SECONDS = 3600.0
"""How long the verdict of a job that is over is shown."""
_VERDICTS = (Condition.COMPLETE, Condition.FAILED)
_WORDS = ("true", "false", "unknown")
_NEEDS_A_LOOK: dict[str, str] = {
    Condition.ACCEPTED: "False",
    Condition.RUNNING: "False",
    Condition.CHECKPOINT_READY: "False",
    Condition.DEGRADED: "True",
    Condition.FAILED: "True",
}
"""Conditions whose reason has a series while they have this status."""
Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobFigures:
    """What the series of one job say; read from its status when that is written, never at a scrape."""

    phase: str
    conditions: tuple[tuple[str, str, str], ...]
    """(type, status, reason) of each."""
    workers: Mapping[str, float]
    """By state."""
    restarts: Mapping[tuple[str, str], float]
    """By role and reason."""
    devices: tuple[str, int] = ("", 0)
    """Name of the resource that a worker asks for, and how many of it."""
    ended: float | None = None
    """When the job was over, in seconds since the epoch; None while it is not."""

    @classmethod
    def of(cls, status: Status, spec: JobSpec | None = None) -> JobFigures:
        workers, servers = status.get("workers", {}), status.get("parameterServer", {})
        failures = float(servers.get("failures", 0))
        restarts = {
            (Role.SERVER.value, "failure"): failures,
            (Role.SERVER.value, "disruption"): float(servers.get("restarts", 0)) - failures,
            (Role.WORKER.value, "failure"): float(workers.get("restarts", 0)),
        }
        counts = {state: workers.get(state, 0) for state in ("desired", "ready")}
        if advised := status.get("training", {}).get("advisedWorkers"):
            counts["advised"] = advised
        ended, asked = times.read(status.get("completionTime")), spec.workers.devices if spec else None
        return cls(
            phase=str(status.get("phase", "Unknown")),
            conditions=tuple(
                (str(item["type"]), str(item["status"]), str(item.get("reason", "")))
                for item in status["conditions"]
                if item["type"] not in KSTATUS
            ),
            workers={state: float(count) for state, count in counts.items()},
            restarts=restarts,
            devices=(asked.resource_name, asked.count) if asked else ("", 0),
            ended=ended.timestamp() if ended else None,
        )


Jobs = Sequence[tuple[tuple[str, str], JobFigures]]
Shown = Sequence[tuple[tuple[str, str], JobFigures, str, str, str]]
"""A job with type, status and reason of one condition."""


class JobSeries(Collector):
    """The series of the jobs that exist, from their last status."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.jobs: dict[tuple[str, str], JobFigures] = {}
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        jobs = list(self.jobs.items())
        going = [(place, job) for place, job in jobs if job.ended is None]
        shown = [
            (place, job, kind, status, reason)
            for place, job in jobs
            for kind, status, reason in job.conditions
            if job.ended is None or (kind in _VERDICTS and self._clock() - job.ended < FINISHED_SECONDS)
        ]
        yield self._phases()
        yield self._conditions(shown)
        yield self._reasons(shown)
        yield self._workers(going)
        yield self._devices(going)
        yield self._restarts(going)

    def _phases(self) -> Metric:
        family = GaugeMetricFamily(f"{PREFIX}jobs", "AsgdJobs by phase", labels=["phase"])
        for phase, count in sorted(Counts(job.phase for job in self.jobs.values()).items()):
            family.add_metric([phase], count)
        return family

    def _conditions(self, shown: Shown) -> Metric:
        labels = ["namespace", "name", "type", "status"]
        says = "Conditions of a job: 1 for the status that one has, 0 for the other two"
        family = GaugeMetricFamily(f"{PREFIX}job_condition", says, labels=labels)
        for place, _, kind, status, _ in shown:
            for word in _WORDS:
                family.add_metric([*place, kind, word], float(word == status.lower()))
        return family

    def _reasons(self, shown: Shown) -> Metric:
        labels = ["namespace", "name", "phase", "type", "reason"]
        says = "1 for why a condition of a job needs a look: the reason, and the job's phase"
        family = GaugeMetricFamily(f"{PREFIX}job_reason", says, labels=labels)
        for place, job, kind, status, reason in shown:
            if _NEEDS_A_LOOK.get(kind) == status:
                family.add_metric([*place, job.phase, kind, reason], 1)
        return family

    def _workers(self, jobs: Jobs) -> Metric:
        labels = ["namespace", "name", "state"]
        family = GaugeMetricFamily(f"{PREFIX}job_workers", "Workers of a job by state", labels=labels)
        for place, job in jobs:
            for state, count in job.workers.items():
                family.add_metric([*place, state], count)
        return family

    def _devices(self, jobs: Jobs) -> Metric:
        labels = ["namespace", "name", "resource"]
        says = "Devices of a job's workers that are ready, by name of the resource"
        family = GaugeMetricFamily(f"{PREFIX}job_devices", says, labels=labels)
        for place, job in jobs:
            resource, each = job.devices
            if each:
                family.add_metric([*place, resource], each * job.workers["ready"])
        return family

    def _restarts(self, jobs: Jobs) -> Metric:
        labels = ["namespace", "name", "role", "reason"]
        family = CounterMetricFamily(f"{PREFIX}job_restarts", "Restarts of a job's pods", labels=labels)
        for place, job in jobs:
            for (role, reason), count in job.restarts.items():
                family.add_metric([*place, role, reason], count)
        return family


class _SpanSeries(Collector):
    def __init__(self, spans: Counted | None) -> None:
        self._spans = spans

    def collect(self) -> Iterator[Metric]:
        yield spans_metric(f"{PREFIX}spans", self._spans)


class OperatorMetrics:
    """One object a process; `text` is what a scrape gets."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.series = JobSeries()
        self.registry.register(self.series)
        self.reconciles = self._counter("reconcile", "Passes over a job", "result")
        # NB: those with known labels begin at 0, or the first increase would be no increase to Prometheus.
        self.errors = self._counter(
            "reconcile_errors",
            "Passes that failed, by what the API answered; bug: by the operator's fault",
            "reason",
        )
        self.unreadable = self._counter(
            "watch_unreadable", "Objects of a watch that the operator could not read", "resource"
        )
        self.status_refused = self._counter(
            "status_refused",
            "Parts of statuses that the API server refused; all: the whole of one",
            "part",
        )
        for part in (*schema.structural()["properties"]["status"]["properties"], "all"):
            self.status_refused.labels(part)
        for reason in ("bug", *(kind.reason for kind in OperatorError.__subclasses__())):
            self.errors.labels(reason)
        self.requests = self._counter(
            "kube_requests", "Requests to the API server", "verb", "resource", "code"
        )
        self.duration = self._histogram("reconcile_duration_seconds", "Duration of a pass")
        self.to_running = self._histogram(
            "job_time_to_running_seconds",
            "From a job's start until it trains",
            (5, 10, 20, 40, 80, 160, 320, 640, 1800),
        )
        self.last_event = self._gauge(
            "watch_last_event_timestamp_seconds", "Newest event of a watch", "resource"
        )
        self.leader = self._gauge("leader", "1 while this process holds the Lease, or needs none")
        versions = {"version": __version__, "python": platform.python_version(), "kopf": version("kopf")}
        self._gauge("build_info", "Versions of the operator and of what it runs on", *versions).labels(
            **versions
        ).set(1)

    def watch_queue(self, depth: Callable[[], float], oldest: Callable[[], float]) -> None:
        """Asked at each scrape."""
        self._gauge("queue_depth", "Jobs whose pass is due or under way").set_function(depth)
        self._gauge("queue_oldest_age_seconds", "How long the first of them is overdue").set_function(oldest)

    def watch_spans(self, spans: Counted | None) -> None:
        """Asked at each scrape; None: nothing is traced."""
        self.registry.register(_SpanSeries(spans))

    def passed(self, key: str, seconds: float, error: Exception | None) -> None:
        """A pass over `key` ended."""
        self.duration.observe(seconds)
        self.reconciles.labels("error" if error else "success").inc()
        if error is not None:
            self.errors.labels(error.reason if isinstance(error, OperatorError) else "bug").inc()

    def requested(self, verb: str, resource: str, code: int) -> None:
        self.requests.labels(verb, resource, str(code)).inc()

    def observe_job(self, o: Observed, planned: Plan) -> None:
        if planned.status is None:
            return
        self.series.jobs[(o.namespace, o.name)] = JobFigures.of(planned.status, o.spec)
        if "runningTime" in planned.status and "runningTime" not in o.status:
            begun = times.read(planned.status.get("startTime"))
            self.to_running.observe(max(0.0, (o.now - begun).total_seconds()) if begun else 0.0)

    def forget_job(self, namespace: str, name: str) -> None:
        self.series.jobs.pop((namespace, name), None)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, says, labels, registry=self.registry)

    def _histogram(
        self, name: str, says: str, buckets: tuple[float, ...] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        return Histogram(PREFIX + name, says, buckets=buckets, registry=self.registry)
