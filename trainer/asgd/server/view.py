"""Builds the job's `Status` from what shard 0 knows: one place for every figure that people and machines read."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from asgd.server.coordinator import Coordinator
from asgd.server.members import Member
from asgd.server.waiting import waiting_for
from asgd.spec.status import CheckpointView, ServingView, StalenessView, Status, WorkerView

if TYPE_CHECKING:
    from asgd.server.chief import Chief

LOST_MOST = 256
"""So many indices of lost workers are told."""


def staleness(histogram: Counter[int]) -> StalenessView:
    """Mean, quantiles and maximum of {staleness: pushes}."""
    total = histogram.total()
    if not total:
        return StalenessView()
    ordered = sorted(histogram.items())

    def quantile(q: float) -> int:
        count = 0
        for value, number in ordered:
            count += number
            if count >= q * total:
                return value
        return ordered[-1][0]

    mean = sum(value * number for value, number in ordered) / total
    return StalenessView(mean, quantile(0.5), quantile(0.99), ordered[-1][0])


def build_status(chief: Chief, now: float) -> Status:
    """The job at `now` (monotonic seconds)."""
    coordinator, shard = chief.coordinator, chief.shard
    reports = [chief.reports.get(i, {}) for i in range(1, shard.shards)]
    histogram = Counter(shard.histogram)
    refused = Counter(shard.refused)
    for report in reports:
        histogram.update({int(k): v for k, v in report.get("histogram", {}).items()})
        refused.update(report.get("refused", {}))
    progress, eta = forecast(coordinator, now)
    members = [*coordinator.past, *coordinator.members.values()]
    return Status(
        job=chief.config.job.name,
        phase=coordinator.phase,
        algorithm=str(coordinator.spec.algorithm["name"]),
        workers=[_worker(coordinator, member, now) for member in members],
        workers_seen=len(coordinator.seen),
        workers_lost=sorted(coordinator.lost)[:LOST_MOST],
        workers_unlisted=coordinator.roster.unlisted,
        waiting_for=waiting_for(coordinator, now),
        notices=coordinator.notices.newest,
        updates=coordinator.updates,
        samples=coordinator.samples,
        epochs=coordinator.epochs,
        seconds=coordinator.trained_seconds(now),
        samples_per_second=coordinator.rates.samples_per_second(now),
        updates_per_second=coordinator.rates.updates_per_second(now),
        bytes_sent=chief.traffic.sent + sum(r.get("sent", 0) for r in reports),
        bytes_received=chief.traffic.received + sum(r.get("received", 0) for r in reports),
        bytes_saved=shard.saved + sum(r.get("saved_bytes", 0) for r in reports),
        loss=coordinator.loss,
        metrics=dict(coordinator.metrics),
        metrics_at_updates=max(0, coordinator.metrics_at),
        staleness=staleness(histogram),
        staleness_histogram=dict(shard.histogram),
        refused=dict(refused),
        rejected_workers=list(shard.state.facts.get("rejected", [])),
        ever_rejected=list(shard.state.facts.get("everRejected", [])),
        versions=[shard.state.version, *(r.get("version", 0) for r in reports)],
        terms=[chief.terms.get(i, 0) for i in range(shard.shards)],
        restarts=dict(coordinator.restarts),
        lost_updates=chief.lost_updates,
        revisited_samples=coordinator.pool.revisited if coordinator.pool else 0,
        checkpoint=_checkpoint(chief),
        checkpoint_error=chief.checkpoint_error or coordinator.save_error,
        progress=progress,
        eta_seconds=eta,
        stop_reason=coordinator.stop_reason,
        guarantee=coordinator.guarantee,
        stop_after=coordinator.spec.stop_after,
        serving=ServingView(
            sum(map(sum, chief.traffic.counts.values())), sum(chief.traffic.seconds.values())
        ),
    )


def _origin(coordinator: Coordinator, now: float) -> float:
    """The moment at which the job's own clock (`Status.seconds`) stood at 0."""
    start = now if coordinator.first_push is None else coordinator.first_push
    return start - coordinator.seconds_before


def _worker(coordinator: Coordinator, member: Member, now: float) -> WorkerView:
    origin, alive = _origin(coordinator, now), member.ended is None
    idle = coordinator.idle(member, now) if alive else 0.0
    lived = (member.ended if member.ended is not None else now) - member.joined
    return WorkerView(
        index=member.index,
        state="stalled" if alive and coordinator.stalled(member, idle) else member.state,
        joined=max(0.0, member.joined - origin),
        ended=None if member.ended is None else max(0.0, member.ended - origin),
        incarnation=member.incarnation,
        samples=member.samples,
        samples_per_second=member.samples / lived if lived > 0 else 0.0,
        loss=member.loss,
        node=member.node,
        times=member.times,
        samples_held=coordinator.held(member.index) if alive else 0,
        idle_seconds=idle,
    )


def _checkpoint(chief: Chief) -> CheckpointView | None:
    newest = chief.rounds.newest if chief.rounds else None
    if newest is None:
        return None
    uri = f"{chief.config.checkpoint.rstrip('/')}/{newest.round:06d}"
    size = sum(part.bytes for part in newest.parts)
    return CheckpointView(newest.updates, uri, max(0.0, time.time() - newest.time), size)


def forecast(coordinator: Coordinator, now: float) -> tuple[float | None, float | None]:
    """(progress 0..1, seconds left) of the stop rule that will be met first; None where it cannot be foreseen."""
    rule, pool = coordinator.spec.stop_after, coordinator.pool
    seconds = coordinator.trained_seconds(now)
    parts = []
    if pool and pool.limit:
        parts.append(pool.visited / pool.limit)
    if rule.updates:
        parts.append(coordinator.updates / rule.updates)
    if rule.samples:
        parts.append(coordinator.samples / rule.samples)
    if rule.seconds:
        parts.append(seconds / rule.seconds)
    if not parts:
        return None, None
    progress = min(1.0, max(parts))
    if coordinator.stop_reason:
        return progress, 0.0
    return progress, seconds * (1 - progress) / progress if progress > 0 else None
