"""Builds the job's `Status` from what shard 0 knows: one place for every figure that people and machines read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from asgd.algorithms.schedule import rate_factor
from asgd.server.coordinator import Coordinator
from asgd.server.facts import JobFacts, SaveFacts
from asgd.server.members import Member
from asgd.server.pool import Pool
from asgd.server.progress import without_data
from asgd.server.waiting import waiting_for
from asgd.spec.status import (
    CheckpointView,
    DataView,
    PhasesView,
    ShardView,
    StalenessView,
    Status,
    WorkerView,
)
from asgd.wire.reports import ShardReport

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


def build_status(coordinator: Coordinator, facts: JobFacts, now: float) -> Status:
    """The job at `now` (monotonic seconds)."""
    first, shards = facts.shards[0], facts.shards
    histogram: Counter[int] = Counter()
    refused: Counter[str] = Counter()
    for report in shards:
        histogram.update(report.histogram)
        refused.update(report.refused)
    progress, eta = forecast(coordinator, now)
    members = [*coordinator.past, *coordinator.members.values()]
    return Status(
        job=facts.job,
        phase=coordinator.phase,
        algorithm=str(coordinator.spec.algorithm["name"]),
        workers=[_worker(coordinator, member, facts, now) for member in members],
        workers_seen=len(coordinator.seen),
        workers_lost=sorted(coordinator.lost)[:LOST_MOST],
        workers_unlisted=coordinator.roster.unlisted,
        waiting_for=waiting_for(coordinator, facts.save_error, now),
        notices=coordinator.notices.newest,
        updates=coordinator.updates,
        samples=coordinator.samples,
        epochs=coordinator.epochs,
        seconds=coordinator.trained_seconds(now),
        samples_per_second=coordinator.rates.samples_per_second(now),
        updates_per_second=coordinator.rates.updates_per_second(now),
        bytes_sent=sum(report.sent for report in shards),
        bytes_received=sum(report.received for report in shards),
        bytes_saved=sum(report.codec_saved for report in shards),
        loss=coordinator.loss,
        scalars={name: mean.value for name, mean in coordinator.mean_scalars.items()},
        **_evaluation(coordinator),
        **_taken(facts),
        staleness=staleness(histogram),
        staleness_histogram=dict(first.histogram),
        refused=dict(refused),
        rejected_workers=facts.rejected,
        ever_rejected=facts.ever_rejected,
        versions=[report.version for report in shards],
        terms=facts.terms,
        restarts=dict(coordinator.restarts),
        lost_updates=facts.lost_updates,
        revisited_samples=coordinator.pool.revisited if coordinator.pool else 0,
        checkpoint=_checkpoint(facts.save),
        checkpoint_error=facts.save_error,
        progress=progress,
        eta_seconds=eta,
        stop_reason=coordinator.stop_reason,
        stop_detail=coordinator.stop_detail,
        diverged_by=coordinator.diverged_by,
        **_rollbacks(coordinator),
        suspects=sorted(coordinator.suspects)[:LOST_MOST],
        refused_lately=coordinator.refused_lately(now)[:LOST_MOST],
        guarantee=coordinator.guarantee,
        stop_after=coordinator.spec.stop_after,
        shards=[_shard(report, term) for report, term in zip(shards, facts.terms, strict=True)],
        data=_data(coordinator.pool) if coordinator.pool else None,
    )


def _taken(facts: JobFacts) -> dict[str, Any]:
    """What stands in the status as shard 0 has it."""
    return {
        "advice": facts.advice,
        "refused_messages": facts.refused_messages,
        "strategy_figures": facts.figures,
        "optimizer": facts.optimizer,
        "serving": facts.serving,
    }


def _data(pool: Pool) -> DataView:
    out = (span for spans in pool.leased.values() for span in spans)
    return DataView(
        pool.size, pool.visited, _samples(out), _samples(pool.returned), pool.revisited, pool.skipped
    )


def _shard(report: ShardReport, term: int) -> ShardView:
    return ShardView(
        report.version, term, report.ready, report.sent, report.received, report.requests,
        report.busy_microseconds / 1e6, report.held_back, report.lost,
    )  # fmt: skip


def _samples(spans: Iterable[tuple[int, int, int]]) -> int:
    return sum(stop - start for _, start, stop in spans)


def _rollbacks(coordinator: Coordinator) -> dict[str, Any]:
    return {
        "rollbacks": coordinator.rollbacks,
        "rollback_detail": coordinator.rollback_detail,
        "diverged_at": coordinator.diverged_at,
        "rate_factor": rate_factor(coordinator.spec, coordinator.rollbacks),
    }


def _evaluation(coordinator: Coordinator) -> dict[str, Any]:
    rule, best = coordinator.spec.checkpoint.best, coordinator.best
    return {
        "metrics": dict(coordinator.metrics),
        "metrics_at_updates": max(0, coordinator.metrics_at),
        # NB: a job that was resumed may go by another metric now, or by none.
        "best": best if rule and best and best.metric == rule.metric else None,
        "evaluations_failed": coordinator.evaluations_failed,
        "evaluation_error": coordinator.evaluation_error,
    }


def _origin(coordinator: Coordinator, now: float) -> float:
    """The moment at which the job's own clock (`Status.seconds`) stood at 0."""
    start = now if coordinator.first_push is None else coordinator.first_push
    return start - coordinator.seconds_before


def _worker(coordinator: Coordinator, member: Member, facts: JobFacts, now: float) -> WorkerView:
    origin, alive = _origin(coordinator, now), member.ended is None
    idle = coordinator.idle(member, now) if alive else 0.0
    held = coordinator.held(member.index) if alive else 0
    pushes, staleness_total = facts.staleness_of.get(member.index, (0, 0))
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
        refused=member.unusable,
        node=member.node,
        times=member.times,
        samples_held=held,
        idle_seconds=idle,
        waits=_waits(member, held) if alive else "",
        phases=_phases(member, now) if alive else PhasesView(),
        lane=member.lane,
        pushes=pushes,
        staleness_total=staleness_total,
    )


def _waits(member: Member, held: int) -> str:
    if member.debt.parked:
        return "others"
    return "data" if without_data(member, held) else ""


def _phases(member: Member, now: float) -> PhasesView:
    told = member.phases
    return PhasesView(told.number, told.seconds_ago + max(0.0, now - member.phases_at), told.letters)


def _checkpoint(save: SaveFacts | None) -> CheckpointView | None:
    return CheckpointView(save.updates, save.uri, save.seconds_ago, save.bytes) if save else None


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
