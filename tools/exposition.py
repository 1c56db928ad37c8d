"""What each kind of process exposes to Prometheus: the page docs/reference/metrics.md, and samples for tests of them.

The families come from the code that serves them, fed with one of everything that has labels.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from asgd.algorithms.registry import strategy
from asgd.server import job_metrics
from asgd.server import metrics as server
from asgd.server.shard import Shard
from asgd.server.traffic import Traffic
from asgd.spec import job_from_json
from asgd.spec.status import Advice, CheckpointView, Status, WorkerView
from asgd.worker.meters import Meters
from asgd_operator.metrics import JobFigures, OperatorMetrics

HEAD = """\
# Metrics

What Prometheus finds at `/metrics`: of the operator at the chart's `port`, of every pod of a job at
`spec.metrics.port`. Made from the code by `make generate`; do not edit. `promtool check metrics` has no complaint.

Which job and pod a sample of a server or worker belongs to is told by the labels that the scrape adds: `namespace`,
`pod`, `asgd_dev_job_name`, `asgd_dev_role` (`metrics.podMonitor` of the chart). The operator's own series of a job
have `namespace` and `name`, which win over those of the scrape (`honorLabels` of `metrics.serviceMonitor`). They go
with the job; of a job that is over only its verdict is shown (`Complete`, `Failed`), for an hour. Shard 0
alone tells of the whole job: loss, progress, evaluations, workers by state, age of the checkpoint. On a server, series
of a worker end when it leaves; its refused messages are counted on as `peer="other"`.

`metrics.prometheusRule` of the chart has alerts made of them, each with its section in [the runbook](runbook.md);
`metrics.dashboard` has three dashboards for Grafana: [monitoring](../how-to/monitoring.md).

"""
_JOB = (
    b'{"metadata": {"name": "digits"}, "spec": {"entrypoint": "m:f", "exchange": {"staleness": {"max": 8}}}}'
)


def families() -> dict[str, list[Metric]]:
    """By kind of process, one sample of each series at least."""
    return {"operator": list(_operator()), "server": list(_server()), "worker": list(_worker())}


def text(found: Iterable[Metric]) -> bytes:
    """As a scrape gets them."""
    registry = CollectorRegistry()
    registry.register(_Given(list(found)))
    return generate_latest(registry)


def page() -> str:
    """The whole page as Markdown."""
    made = HEAD
    for kind, found in families().items():
        made += f"## asgd_{kind}_\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
        made += (
            "".join(f"{_row(family)}\n" for family in sorted(found, key=lambda family: family.name)) + "\n"
        )
    return made.rstrip("\n") + "\n"


def _row(family: Metric) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    told = {label for sample in family.samples for label in sample.labels}
    labels = sorted({*told, *getattr(family, "_labelnames", ())} - {"le"})
    says = family.documentation.rstrip(".")
    return f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {says} |"


class _Given(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def _operator() -> Iterable[Metric]:
    made = OperatorMetrics()
    made.watch_queue(lambda: 0, lambda: 0)
    made.watch_spans(None)
    made.passed("n/digits", 0.1, None)
    made.requested("GET", "pods", 200)
    made.unreadable.labels("pods").inc()
    made.last_event.labels("pods").set(1)
    conditions = [
        {"type": "Running", "status": "True"},
        {"type": "Degraded", "status": "True", "reason": "WorkerHung"},
    ]
    spec = job_from_json(_JOB).spec
    devices = replace(spec.workers, devices=replace(spec.workers.devices, count=1))
    status = {"phase": "Running", "conditions": conditions, "workers": {"ready": 1, "desired": 1}}
    made.series.jobs["n", "digits"] = JobFigures.of(status, replace(spec, workers=devices))
    return made.registry.collect()


def _server() -> Iterable[Metric]:
    spec = job_from_json(_JOB).spec
    traffic = Traffic()
    traffic.refuse("worker 3", "bug")
    shard = Shard(spec, strategy("safeguard").server(spec), 0, 1, 1)
    told = Status(
        algorithm="asgd",
        phase="running",
        loss=0.5,
        progress=0.5,
        eta_seconds=60.0,
        metrics={"accuracy": 0.9},
        workers=[WorkerView(index=0, state="running", joined=0.0)],
        checkpoint=CheckpointView(updates=1),
        advice=Advice(6, ""),
    )
    return (*server.collect(shard, traffic, 0), *job_metrics.collect(told, spec))


def _worker() -> Iterable[Metric]:
    made = Meters()
    made.step(32, 0.5)
    made.gradient_norm = 1.0
    made.versions = (1,)
    made.ways = lambda: ["shm"]
    made.refused["stale"] += 1
    return made.collect()
