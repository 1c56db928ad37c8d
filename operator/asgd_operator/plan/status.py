"""The whole status of a job, derived anew on each pass; its only writer.

Figures of the training move all the time, so they are taken over at most every half minute; everything else
moves only with a transition. What is not derived (times, counts of restarts) is carried over from the
previous status, so a write that was lost is made again by the next pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from asgd.spec.status import Status
from asgd_operator.constants import JOB_LABEL, ROLE_LABEL, Condition, Phase, Role
from asgd_operator.plan import (
    autoscale,
    conditions,
    deadlines,
    evidence,
    fitting,
    kstatus,
    members,
    success,
    suspend,
    times,
)
from asgd_operator.plan.judge import judge
from asgd_operator.plan.model import Observed
from asgd_operator.plan.summary import summary
from asgd_operator.plan.verdict import Verdict

TRAINING_SECONDS = 30.0
"""How often the figures of the training are written at most."""


def derive(o: Observed, verdict: Verdict | None, *, rescued: bool = False) -> dict[str, Any]:
    """The status as it should stand now. `rescued`: this pass restarts shard 0 because of a stall."""
    now, judged = phase(o, verdict), conditions.merge(o, judge(o, verdict))
    why = summary(now, judged)
    status: dict[str, Any] = {
        "observedGeneration": o.generation,
        "phase": now.value,
        **why,
        "selector": f"{JOB_LABEL}={o.name},{ROLE_LABEL}={Role.WORKER.value}",
        **_times(o, verdict),
        "parameterServer": _servers(o, rescued),
        "workers": _workers(o),
        "lastFailure": dict(evidence.derive(o)),
        "conditions": [*judged, *kstatus.conditions(o, now, why)],
    }
    return fitting.fit(status | _training(o))


def phase(o: Observed, verdict: Verdict | None) -> Phase:
    """First match wins. For people: scripts read the conditions."""
    if o.deleting:
        return Phase.TERMINATING
    if o.holds(Condition.COMPLETE) or (verdict is not None and verdict.kind is Condition.COMPLETE):
        return Phase.SUCCEEDED
    if o.holds(Condition.FAILED) or verdict is not None:
        return Phase.FAILED
    if o.spec is None and o.unread and o.status.get("phase"):
        return Phase(o.status["phase"])
    if o.problem is not None or o.spec is None:
        return Phase.INVALID
    if o.spec.run_policy.suspend:
        return Phase.SUSPENDED if suspend.stopped(o) else Phase.SUSPENDING
    if success.completing(o):
        return Phase.COMPLETING
    if o.waits_in_queue:
        return Phase.QUEUED
    if not o.servers_ready or not o.launched:
        return Phase.RECOVERING if o.launched else Phase.STARTING
    if not o.enough_workers:
        return Phase.WAITING_FOR_WORKERS
    return Phase.STALLED if deadlines.stalled(o) else Phase.RUNNING


def is_running(o: Observed) -> bool:
    return o.spec is not None and o.launched and o.servers_ready and o.enough_workers


def _times(o: Observed, verdict: Verdict | None) -> dict[str, Any]:
    now = times.write(o.now)
    if o.finished:
        return _kept(o, "startTime", "runningTime", "completionTime")
    if o.spec is None and o.unread:
        return _kept(o, "startTime", "runningTime")
    if o.spec is None or (o.spec.run_policy.suspend and suspend.stopped(o)):
        return {}
    waits = o.waits_in_queue and o.workers_stopped
    if waits and verdict is None and not success.completing(o):
        return {}  # as of a Kubernetes Job: time in a queue is none in which it ran
    found = _kept(o, "startTime", "runningTime")
    if o.problem is None and not o.spec.run_policy.suspend:
        found = {"startTime": now} | found
        found = ({"runningTime": now} | found) if is_running(o) or success.completing(o) else found
    return found | ({"completionTime": now} if verdict is not None else {})


def _servers(o: Observed, rescued: bool) -> dict[str, Any]:
    if o.finished or o.spec is None:
        return dict(o.status.get("parameterServer", {})) | {"ready": o.servers.ready if o.servers else 0}
    counted = members.count(o)
    before = o.status.get("parameterServer", {})
    rescue = deadlines.updates(o) if rescued else before.get("rescuedAtUpdates")
    return {
        "desired": 0 if o.spec.run_policy.suspend else o.spec.parameter_server.shards,
        "ready": o.servers.ready if o.servers else 0,
        "restarts": counted.restarts,
        "failures": counted.failures,
        **({"failureTime": counted.failed_at} if counted.failed_at else {}),
        **({"members": [dict(item) for item in counted.members]} if counted.members else {}),
        **({"rescuedAtUpdates": rescue} if rescue is not None else {}),
    }


def _workers(o: Observed) -> dict[str, Any]:
    before, job = o.status.get("workers", {}), o.workers
    seen = o.report.restarts.get(Role.WORKER, 0) if o.report else 0
    counts = {"ready": 0, "active": 0, "succeeded": 0, "failed": 0}
    if job is not None:
        counts = {
            "ready": job.ready,
            "active": job.active,
            "succeeded": job.succeeded,
            "failed": job.failed_indexes,
        }
    scaled = autoscale.derive(o)
    wanted = 0
    if o.spec and not o.spec.run_policy.suspend:
        wanted = scaled.get("workers", o.spec.workers.replicas)
    restarts = max(int(before.get("restarts", 0)), seen, job.failed if job else 0)
    kept = o.finished or (o.spec is None and bool(o.unread))
    desired = before.get("desired", 0) if kept else wanted
    return {"desired": desired, **({"autoscale": scaled} if scaled else {}), **counts, "restarts": restarts}


def _training(o: Observed) -> dict[str, Any]:
    """The blocks that come from shard 0. Kept as they are when it is silent, or was asked a moment ago."""
    kept = _kept(o, "training", "checkpoint", "term")
    if o.report is None or o.finished:
        return kept
    before = o.status.get("training", {})
    # NB: as they would stand there, for those that were cut must not look like news on each pass.
    figures = fitting.fit({"training": _figures(o.report)})["training"]
    if _fresh(o, before) and not _leaving(o) and not _news(before, figures):
        return kept
    moved = before.get("updates") != figures["updates"]
    if moved or figures != {key: value for key, value in before.items() if not key.endswith("Time")}:
        progress = times.write(o.now) if moved else before.get("progressTime", times.write(o.now))
        kept["training"] = figures | {"observedTime": times.write(o.now), "progressTime": progress}
    if o.report.terms:
        kept["term"] = max(o.report.terms)
    return kept | _checkpoint(o, o.report)


def _news(before: Mapping[str, Any], figures: Mapping[str, Any]) -> bool:
    """What is told at once."""
    return any(
        before.get(name) != figures.get(name) for name in ("stopReason", "rejectedWorkers", "noticeNumber")
    )


def _noticed(report: Status) -> int:
    return report.notices[-1].number if report.notices else 0


def _leaving(o: Observed) -> bool:
    """The servers end next: these figures are the last, and a suspended job goes on from them."""
    return o.spec is not None and o.spec.run_policy.suspend


def _fresh(o: Observed, before: Mapping[str, Any]) -> bool:
    left = times.seconds_until(times.read(before.get("observedTime")), TRAINING_SECONDS, o.now)
    return left is not None and left > 0


def _figures(report: Status) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "updates": report.updates,
        "samples": report.samples,
        "epochs": round(report.epochs, 3),
        "samplesPerSecond": _short(report.samples_per_second) or 0,
        "stalenessP50": report.staleness.p50,
        "stalenessP99": report.staleness.p99,
        "lostUpdates": report.lost_updates,
    }
    told = {
        "metrics": {name: _short(value) for name, value in sorted(report.metrics.items())},
        "best": _best(report),
        "strategyFigures": {name: _short(value) for name, value in sorted(report.strategy_figures.items())},
        "refused": {reason: count for reason, count in sorted(report.refused.items()) if count},
        "rejectedWorkers": report.rejected_workers,
        "everRejected": report.ever_rejected,
        "suspects": report.suspects,
        "advice": report.advice and report.advice.text,
        "advisedWorkers": report.advice and report.advice.workers,
        "rollbacks": report.rollbacks,
        "rateFactor": _short(report.rate_factor) if report.rollbacks else None,
    }
    figures |= {name: value for name, value in told.items() if value}
    if number := _noticed(report):
        figures["noticeNumber"] = number
    if (loss := _short(report.loss)) is not None:
        figures["loss"] = loss
    if report.progress is not None:
        figures["progressPercent"] = math.floor(100 * min(1.0, max(0.0, report.progress)))
    return figures | ({"stopReason": report.stop_reason} if report.stop_reason else {})


def _best(report: Status) -> dict[str, Any]:
    best = report.best
    if best is None:
        return {}
    return {"metric": best.metric, "value": _short(best.value), "updates": best.updates, "uri": best.uri}


def _short(value: float | None) -> float | None:
    """Five significant digits; None for what JSON cannot hold."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _checkpoint(o: Observed, report: Status) -> dict[str, Any]:
    if report.checkpoint is None:
        return {}
    saved, before = report.checkpoint, o.status.get("checkpoint", {})
    moment = times.write(times.before(o.now, saved.seconds_ago))
    found = {"lastUpdates": saved.updates, "lastUri": saved.uri, "lastTime": moment, "bytes": saved.bytes}
    told: dict[str, Any] = fitting.fit({"checkpoint": found})
    same = all(before.get(name) == told["checkpoint"][name] for name in ("lastUpdates", "lastUri"))
    return {} if same else told


def _kept(o: Observed, *fields: str) -> dict[str, Any]:
    return {field: o.status[field] for field in fields if field in o.status}
