"""`kubectl asgd status`: all that matters of one job on one page, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from asgd.client.documents import (
    Document,
    condition,
    ended,
    in_order,
    is_ready,
    keeps_checkpoints,
    label_of,
    name_of,
    namespace_of,
    part,
    restarts_of,
    state_of,
    suspended,
)
from asgd.client.show.ages import NONE, since
from asgd.client.show.events import events_table
from asgd.client.show.table import indented, table
from asgd.report import units
from asgd.report.summary import staleness
from asgd.report.troubles import troubles
from asgd.spec.autoscaling import wanted
from asgd.spec.status import Status

_EVENTS = 6
_PODS = 40
_TROUBLE = {"Degraded": "True", "Accepted": "False"}
"""{condition: value} in which it is a trouble."""


def page(
    job: Document, pods: Sequence[Document], events: Sequence[Document], told: Status | None, now: datetime
) -> str:
    """`told`: what shard 0 says, None where it was not asked or does not answer. `events` in their order."""
    blocks = [
        "\n".join(_head(job, now)),
        "\n".join(f"{what:<11}{text}" for what, text in _figures(job, told, now) if text),
        "Conditions\n" + indented(_conditions(job, now)),
        _pods(pods, now),
        "Events\n" + indented(events_table(events[-_EVENTS:], now)) if events else "",
        "\n".join(f"{what:<11}{text}" for what, text in _next(job)),
    ]
    return "\n\n".join(block for block in blocks if block)


def _head(job: Document, now: datetime) -> Iterator[str]:
    status = job.get("status") or {}
    phase, reason = status.get("phase") or "not seen by an operator yet", status.get("reason")
    born = since(part(job, "metadata", "creationTimestamp"), now)
    yield (
        f"{namespace_of(job)}/{name_of(job)}  {phase}" + (f" ({reason})" if reason else "") + f"  {born} old"
    )
    if message := status.get("message"):
        yield str(message)
    for kind, value in _TROUBLE.items():
        found = condition(job, kind)
        if found.get("status") == value and found.get("message") != message:
            yield f"{kind}={value}, {found.get('reason')}: {found.get('message')}"
    failure = status.get("lastFailure")
    if failure:
        yield _failure(failure, now)


def _failure(failure: Document, now: datetime) -> str:
    ago = since(failure.get("finishedAt"), now)
    how = f"{failure.get('reason') or 'Error'}, exit code {failure.get('exitCode')}"
    said = f": {' '.join(str(failure['message']).split())}" if failure.get("message") else ""
    return f"last failure: {failure.get('pod')} {ago} ago ({how}){said}"


def _figures(job: Document, told: Status | None, now: datetime) -> Iterator[tuple[str, str]]:
    status, spec = job.get("status") or {}, job["spec"]
    training = status.get("training") or {}
    yield "progress", _progress(training, told)
    if told is not None:
        yield from _from_shard(told)
    elif training:
        yield "training", _trained(training, now)
        metrics = training.get("metrics") or {}
        yield "metrics", ", ".join(f"{name} {units.number(value)}" for name, value in metrics.items())
        if training.get("stalenessP99") is not None:
            yield "staleness", f"p50 {training.get('stalenessP50', 0)}, p99 {training['stalenessP99']}"
    if best := training.get("best"):
        yield (
            "best",
            f"{best.get('metric')} {units.number(best.get('value'))} at update {best.get('updates', 0):,}",
        )
    workers, servers = status.get("workers") or {}, status.get("parameterServer") or {}
    yield (
        "workers",
        (
            f"{workers.get('ready', 0)} of {wanted(job)} take part"
            f"{_count(workers, 'restarts')}{_count(workers, 'failed', 'given up')}"
        ),
    )
    yield "autoscale", _autoscale(part(spec, "workers", "autoscale"), workers.get("autoscale") or {}, now)
    yield (
        "servers",
        (
            f"{servers.get('ready', 0)} of {part(spec, 'parameterServer', 'shards')} ready{_count(servers, 'restarts')}"
        ),
    )
    yield "checkpoint", _checkpoint(status.get("checkpoint") or {}, now)


def _from_shard(told: Status) -> Iterator[tuple[str, str]]:
    epochs = f" (epoch {told.epochs:.1f})" if told.epochs else ""
    loss = "" if told.loss is None else f", loss {units.number(told.loss)}"
    yield (
        "training",
        (
            f"{told.updates:,} updates, {told.samples:,} samples{epochs} in {units.seconds(told.seconds)},"
            f" {units.rate(told.samples_per_second)} samples/s{loss}"
        ),
    )
    at = f" at update {told.metrics_at_updates:,}" if told.metrics else ""
    yield "metrics", ", ".join(f"{name} {units.number(value)}" for name, value in told.metrics.items()) + at
    yield "staleness", staleness(told.staleness)
    yield from troubles(told)
    yield "waiting", told.waiting_for
    yield "saving", told.checkpoint_error and f"the newest checkpoint failed: {told.checkpoint_error}"
    for notice in told.notices[-3:]:
        yield "notice", notice.text


def _autoscale(rule: Document | None, found: Document, now: datetime) -> str:
    """Bounds, the number in force and why, and what waits; empty without autoscaling."""
    if not rule:
        return ""
    why = f": {found['reason']}" if found.get("reason") else ""
    said = f"{rule.get('min')} to {rule.get('max')}; {found.get('workers', 'no number yet')}{why}"
    granted, number = found.get("granted", 0), found.get("workers", 0)
    if 0 < granted < number:
        said += f"; the queue lets {granted} of them start so far"
    if pending := found.get("pending"):
        said += f"; {pending.get('workers')} advised for {since(pending.get('since'), now)}"
    return said


def _progress(training: Document, told: Status | None) -> str:
    if told is not None and told.progress is not None:
        left = f", about {units.seconds(told.eta_seconds)} left" if told.eta_seconds else ""
        return f"{100 * told.progress:.0f} % of {units.stop_rule(told.stop_after)}{left}"
    percent = training.get("progressPercent")
    return "" if percent is None else f"{percent} %"


def _trained(training: Document, now: datetime) -> str:
    parts = [f"{training.get('updates', 0):,} updates, {training.get('samples', 0):,} samples"]
    if training.get("samplesPerSecond"):
        parts.append(f"{units.rate(training['samplesPerSecond'])} samples/s")
    if training.get("loss") is not None:
        parts.append(f"loss {units.number(training['loss'])}")
    seen = since(training.get("observedTime"), now)
    return ", ".join(parts) + (f" ({seen} ago)" if seen != NONE else "")


def _count(counts: Document, name: str, word: str = "") -> str:
    return f", {counts[name]} {word or name}" if counts.get(name) else ""


def _checkpoint(checkpoint: Document, now: datetime) -> str:
    if not checkpoint.get("lastUri"):
        return "none yet"
    ago = since(checkpoint.get("lastTime"), now)
    size = f", {units.size(checkpoint['bytes'])}" if checkpoint.get("bytes") else ""
    return f"update {checkpoint.get('lastUpdates', 0):,}, {ago} ago{size}: {checkpoint['lastUri']}"


def _conditions(job: Document, now: datetime) -> str:
    rows = [
        (each["type"], each["status"], each["reason"], since(each.get("lastTransitionTime"), now))
        for each in part(job, "status", "conditions") or ()
        if each["status"] != "Unknown"
    ]
    return table(("TYPE", "STATUS", "REASON", "SINCE"), rows) if rows else "none yet"


def _pods(pods: Sequence[Document], now: datetime) -> str:
    if not pods:
        return "No pods"
    ordered = in_order(pods)
    rows = [
        (
            name_of(pod),
            label_of(pod),
            state_of(pod),
            "yes" if is_ready(pod) else "no",
            restarts_of(pod),
            since(part(pod, "metadata", "creationTimestamp"), now),
            part(pod, "spec", "nodeName"),
        )
        for pod in ordered[:_PODS]
    ]
    more = f"\n{len(ordered) - _PODS} more" if len(ordered) > _PODS else ""
    return "Pods\n" + indented(
        table(("NAME", "ROLE", "STATE", "READY", "RESTARTS", "AGE", "NODE"), rows) + more
    )


def _next(job: Document) -> Iterator[tuple[str, str]]:
    """What a person would type next."""
    name, end = name_of(job), ended(job)
    if end == "Failed":
        yield "why", f"kubectl asgd explain {name}; kubectl asgd logs {name}"
    elif end:
        yield (
            "model",
            (
                f"kubectl asgd model {name}"
                if keeps_checkpoints(job)
                else "gone with its servers; the next time: kubectl asgd submit --checkpoints CLAIM"
            ),
        )
    elif suspended(job):
        yield "go on", f"kubectl asgd resume {name}"
    else:
        yield "watch", f"kubectl asgd top {name} -w; kubectl asgd logs {name} -f"
