"""summary.json: how a run ended, in the fields that scripts rely on, and closing lines for a person.

Built from the last status and the spec, with averages over the whole run where a status has the rate of the
last seconds. Figures that are not finite (a diverged loss) are null in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import field

from asgd.errors import UserError
from asgd.report import units
from asgd.report.fields import taken
from asgd.report.files import write_atomic
from asgd.report.precision import full, precision
from asgd.report.troubles import troubles
from asgd.spec.status import StalenessView, Status, Totals
from asgd.spec.types import JobSpec

_REASONS = {
    "epochs": "the epochs of the stop rule are done",
    "updates": "the updates of the stop rule are done",
    "samples": "the samples of the stop rule are done",
    "seconds": "the time of the stop rule is over",
    "patience": "the evaluations got no better",
    "metric": "the metric of the stop rule is reached",
    "diverged": "training diverged; a smaller learning rate may help",
    "unevaluated": "only a metric could end it, and its evaluation fails",
    "interrupted": "it was interrupted",
    "suspended": "the job was suspended",
    "stopped": "it was told to stop",
    "ended": "every worker's own loop came to its end",
    "": "it ended without a stop reason",
}


class Summary(Totals, frozen=True, kw_only=True):
    """One run in numbers. Averages count from the job's first start, as totals do."""

    workers: int
    """As the job asked for; see `workersSeen`."""
    shards: int
    """Parameter servers that the parameters were cut over."""
    seed: int
    """As in the job."""
    samples_per_second: float
    """Average over the whole run."""
    updates_per_second: float
    """Average over the whole run."""
    precision: str = ""
    """In which types weights are kept on servers and in workers, and sent."""
    rejected_workers: list[int] = field(default_factory=list)
    """Workers that the strategy did not listen to, at the end or for a time."""
    replayable: bool = False
    """Whether `asgd replay` can execute this run again, to the same bits."""
    not_replayable: str = ""
    """Why not."""
    weights_sha256: str = ""
    """Of the final weights: the trained parameters as float32, one after the other."""


def summarize(status: Status, spec: JobSpec, kinds: Mapping[str, int] | None = None) -> Summary:
    """The summary of a run whose last status is `status`; `kinds`: {type: trained parameters of it in a worker}."""
    return taken(
        Summary,
        status,
        workers=spec.workers.replicas,
        shards=len(status.versions) or spec.parameter_server.shards,
        seed=spec.seed,
        samples_per_second=_average(status.samples, status),
        updates_per_second=_average(status.updates, status),
        precision=precision(kinds or {}, spec.codec),
        rejected_workers=status.ever_rejected,
    )


def _average(total: int, status: Status) -> float:
    return total / status.seconds if status.seconds > 0 else 0.0


def write(summary: Summary, path: Path) -> None:
    """Puts `summary` at `path` as indented JSON, whole or not at all. Raises OSError."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")


def read(path: Path) -> Summary:
    """Raises UserError where `path` is no summary."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except OSError as error:
        raise UserError(f"summary {path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UserError(f"summary {path} is not a run's summary: {error}") from error


def describe(summary: Summary, output: Path | None = None) -> list[str]:
    """What was reached, why it stopped, speed, staleness, losses and where the files are, a line each."""
    lines = [
        f"reached    {_reached(summary)}",
        f"stopped    after {units.seconds(summary.seconds)}: {reason(summary)}",
        f"speed      {units.rate(summary.samples_per_second)} samples/s, "
        f"{units.rate(summary.updates_per_second)} updates/s with {units.plural(summary.workers, 'worker')} "
        f"and {units.plural(summary.shards, 'shard')}",
        f"staleness  {staleness(summary.staleness)}",
    ]
    if best := summary.best:
        lines.append(f"best       {best.metric} {units.number(best.value)} at update {best.updates:,}")
    bad = [f"{what} {text}" for what, text in troubles(summary)]
    if summary.optimizer:
        lines.insert(2, f"optimizer  {summary.optimizer}")
    if summary.workers_lost:
        bad.append(f"lost {_workers(summary.workers_lost)}")
    if summary.evaluation_error:
        lines.append(
            f"evaluation the last one failed ({summary.evaluations_failed} did): {summary.evaluation_error}"
        )
    # NB: more would share the cores of this machine, whatever they ask for on a cluster.
    if summary.advice and summary.advice.workers < summary.workers:
        lines.append(f"advice     {summary.advice.text}")
    if not full(summary.precision):
        lines.append(f"precision  {summary.precision}")
    if bad:
        lines.append(f"troubles   {'; '.join(bad)}")
    if summary.rejected_workers:
        lines.append(
            f"rejected   {_workers(summary.rejected_workers)}: {summary.algorithm} did not listen to what they sent"
        )
    labels = {
        "worker": "gave up",
        "evaluator": "gave up",
        "data": "changed",
        "checkpoint": "skipped",
        "rollback": "went back",
    }
    lines += [f"{labels.get(notice.about, 'noticed'):<11}{notice.text}" for notice in summary.notices]
    if output is not None:
        lines.append(f"files      {output}")
    return lines


def reason(summary: Summary) -> str:
    """Why it stopped, and what led to it."""
    why = _REASONS.get(summary.stop_reason, summary.stop_reason)
    return f"{why}; {summary.stop_detail}" if summary.stop_detail else why


def staleness(view: StalenessView) -> str:
    """`mean 3.0, p50 3, p99 5, max 9`."""
    return f"mean {view.mean:.1f}, p50 {view.p50}, p99 {view.p99}, max {view.max}"


def _reached(summary: Summary) -> str:
    parts = [f"{name} {units.number(value)}" for name, value in summary.metrics.items()]
    if summary.loss is not None:
        parts.append(
            f"loss {'not finite' if not math.isfinite(summary.loss) else units.number(summary.loss)}"
        )
    epochs = f" ({summary.epochs:.1f} epochs)" if summary.epochs else ""
    parts.append(
        f"{units.plural(summary.updates, 'update')}, {units.plural(summary.samples, 'sample')}{epochs}"
    )
    return ", ".join(parts)


def _workers(indices: list[int]) -> str:
    """`worker 3`, `workers 1, 2`; at most eight of them by name."""
    some = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
    return f"{'worker' if len(indices) == 1 else 'workers'} {some}"
