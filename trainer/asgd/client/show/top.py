"""`kubectl asgd top`: each worker and each shard in one line, from what shard 0 tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asgd.client.documents import Document, part
from asgd.client.show.table import table
from asgd.report import units
from asgd.report.summary import staleness
from asgd.report.troubles import troubles
from asgd.spec.status import ShardView, Status, WorkerView

_WORKERS = (
    "WORKER",
    "STATE",
    "SAMPLES/S",
    "SHARE",
    "UPDATES",
    "STALENESS",
    "STEP",
    "EXCHANGE",
    "LOSS",
    "LANE",
    "NODE",
)
_SHARDS = ("SHARD", "VERSION", "TERM", "READY", "BUSY", "WAITING", "SENT", "RECEIVED", "LOST")
SORTS = {
    "index": lambda worker: worker.index,
    "rate": lambda worker: -worker.samples_per_second,
    "staleness": lambda worker: -mean_staleness(worker),
    "step": lambda worker: -worker.times.own.mean,
}
"""{name: key of a worker} of --sort-by."""


def top(status: Status, *, sort: str = "index", gone: bool = False) -> str:
    """The whole page; `gone`: workers that have left or were lost, too."""
    return "\n".join(
        [*_head(status), "", workers_table(status, sort=sort, gone=gone), "", shards_table(status)]
    )


def workers_table(status: Status, *, sort: str = "index", gone: bool = False) -> str:
    """The newest start of each worker."""
    newest: dict[int, WorkerView] = {}
    for worker in sorted(status.workers, key=lambda each: each.incarnation):
        newest[worker.index] = worker
    shown = [worker for worker in newest.values() if worker.alive or worker.state == "hung" or gone]
    total = sum(worker.samples for worker in newest.values())
    rows = [_worker(worker, total, status) for worker in sorted(shown, key=SORTS[sort])]
    return table(_WORKERS, rows) if rows else "no worker takes part now"


def shards_table(status: Status) -> str:
    return table(_SHARDS, [_shard(number, shard, status) for number, shard in enumerate(status.shards)])


def from_job(job: Document) -> str:
    """What the AsgdJob tells where shard 0 cannot be asked: the operator's last figures, of the job as a whole."""
    training = part(job, "status", "training") or {}
    if not training:
        return "no figures yet: the job has not trained"
    figures = {
        "updates": training.get("updates"),
        "samples": training.get("samples"),
        "samples/s": training.get("samplesPerSecond"),
        "loss": training.get("loss"),
        "staleness p50": training.get("stalenessP50"),
        "staleness p99": training.get("stalenessP99"),
        **(training.get("metrics") or {}),
    }
    return "  ".join(f"{name} {units.number(value)}" for name, value in figures.items() if value is not None)


def mean_staleness(worker: WorkerView) -> float:
    """Of its accepted pushes, on shard 0."""
    return worker.staleness_total / worker.pushes if worker.pushes else 0.0


def _head(status: Status) -> Iterator[str]:
    state = f"{status.phase} ({status.stop_reason})" if status.stop_reason else status.phase
    rates = f"{units.rate(status.updates_per_second)} updates/s, {units.rate(status.samples_per_second)} samples/s"
    loss = "" if status.loss is None else f", loss {units.number(status.loss)}"
    yield f"{status.job}  {state}  {status.algorithm}: {status.updates:,} updates, {rates}{loss}"
    yield f"staleness  {staleness(status.staleness)}"
    yield from (f"{what:<10} {text}" for what, text in troubles(status))
    if status.waiting_for:
        yield f"waiting    {status.waiting_for}"
    if status.workers_unlisted:
        yield f"unlisted   {units.plural(status.workers_unlisted, 'worker')} that ended earlier"


def _worker(worker: WorkerView, total: int, status: Status) -> Sequence[object]:
    state = worker.state
    if worker.index in status.rejected_workers:
        state = "rejected"
    elif worker.waits:
        state = f"waits: {worker.waits}"
    elif worker.state == "stalled":
        state = f"stalled {units.seconds(worker.idle_seconds)}"
    return (
        worker.index,
        state,
        units.rate(worker.samples_per_second),
        f"{100 * worker.samples / total:.0f}%" if total else "-",
        f"{worker.pushes:,}",
        f"{mean_staleness(worker):.1f}",
        _milliseconds(worker.times.own.quantile(0.5)),
        _milliseconds(worker.times.exchange.quantile(0.5)),
        units.number(worker.loss),
        worker.lane,
        worker.node,
    )


def _shard(number: int, shard: ShardView, status: Status) -> Sequence[object]:
    busy = f"{100 * min(1.0, shard.busy_seconds / status.seconds):.0f}%" if status.seconds > 0 else "-"
    return (
        number,
        f"{shard.version:,}",
        shard.term,
        "yes" if shard.ready else "no",
        busy,
        shard.held_back,
        units.size(shard.sent),
        units.size(shard.received),
        shard.lost,
    )


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}ms" if seconds else "-"
