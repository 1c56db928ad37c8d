"""Jobs with which nothing is wrong: how fast they train and until when, what they reached, why they rest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from asgd.client.explain.facts import Facts, age
from asgd.client.explain.kinds import Found, Kind
from asgd.client.explain.words import clause
from asgd.report import units
from asgd.spec.status import STOPPED_FOR_NOW
from asgd.spec.types import StopAfter

_STOPS = {
    "seconds": "stopAfter.seconds is over", "patience": "its metric got no better",
    "stopped": "somebody has stopped it", "ended": "all workers' own loops have ended",
}  # fmt: skip
_DOES = {
    "stopping": "its workers hand in their work",
    "saving": "the last state is saved",
    "evaluating": "the final weights are evaluated",
    "finished": "all is saved, and its pods end",
}
"""{phase of the report: what is done then}"""


def trains(facts: Facts, now: datetime) -> Found:
    """How fast, how far, until when."""
    workers = facts.status.get("workers", {})
    many = f"{workers.get('ready', 0)} of {facts.workers_wanted} workers{_kept_by_queue(facts)}"
    report, told = facts.report, facts.status.get("training", {})
    updates = report.updates if report else told.get("updates", 0)
    if not updates:
        text = f"it trains with {many}, and its first update is on the way"
        return Found(Kind.TRAINS, text, "", facts.own("status"))
    speed = report.samples_per_second if report else told.get("samplesPerSecond", 0)
    parts = [f"it trains with {many} at {units.rate(speed)} samples/s", *_figures(facts)]
    seen = age(told.get("observedTime"), now)
    old = f" ({seen:.0f} s ago)" if report is None and seen is not None else ""
    return Found(Kind.TRAINS, f"{', '.join(parts)}{old}; {_until(facts)}", "", facts.own("top"))


def _kept_by_queue(facts: Facts) -> str:
    """Why autoscaling does not ask for more; empty where no queue is the reason."""
    said = str(facts.status.get("workers", {}).get("autoscale", {}).get("reason", ""))
    queue = facts.at("scheduling.queueName")
    limited = facts.at("workers.autoscale") and queue and f"queue {queue} " in said
    return f" ({said})" if limited else ""


def done(facts: Facts) -> Found:
    """Of a job that is Complete."""
    told = facts.status.get("training", {})
    rule = {"WallClockReached": "stopAfter.seconds is over", "NoImprovement": "its metric got no better"}
    why = rule.get(facts.reason("Complete"), "its stop rule is met")
    counts = f"{why} after {units.plural(int(told.get('updates', 0)), 'update')}"
    return Found(Kind.DONE, ", ".join([counts, *_figures(facts)]), "", facts.own("model"))


def suspended(facts: Facts) -> Found:
    """Of a job that runPolicy.suspend holds, or that is on its way there."""
    if facts.holds("Suspended"):
        updates = facts.status.get("training", {}).get("updates")
        kept = f", at {units.plural(int(updates), 'update')}" if updates else ""
        return Found(
            Kind.SUSPENDED, f"runPolicy.suspend is true and all its pods have ended{kept}",
            "Set runPolicy.suspend to false to go on from the newest checkpoint.", facts.own("resume"),
            "runPolicy.suspend",
        )  # fmt: skip
    said = clause(facts.message("Suspended")) or "its pods are asked to end"
    return Found(
        Kind.SUSPENDING,
        f"it is being suspended: {said}",
        "Wait until it is.",
        facts.own("status"),
        "runPolicy.suspend",
    )


def queued(facts: Facts) -> Found:
    """Of a job whose workers Kueue has not let go, or has taken back."""
    name = facts.at("scheduling.queueName")
    return Found(
        Kind.QUEUE, clause(facts.message("WorkersReady")),
        f"Wait for its turn, or look at what the queue {name} is short of.",
        facts.kubectl("get", "workloads.kueue.x-k8s.io"), "scheduling.queueName",
    )  # fmt: skip


def completing(facts: Facts) -> Found:
    """Its stop rule is met, and it is not Complete yet: what is done meanwhile, for nothing is trained any more."""
    report = facts.report
    if report is None or report.stop_reason in STOPPED_FOR_NOW:
        return ending(facts, facts.message("Running"))
    why = _STOPS.get(report.stop_reason, "its stop rule is met")
    counts = f"{why} after {units.plural(report.updates, 'update')}"
    return ending(facts, f"{', '.join([counts, *_figures(facts)])}; {_DOES.get(report.phase, 'it ends')}")


def ending(facts: Facts, message: str) -> Found:
    """It is about to end, by itself or because somebody has deleted it."""
    return Found(Kind.ENDING, clause(message), "Wait: it ends by itself.", facts.own("status"))


def _figures(facts: Facts) -> list[str]:
    report, told = facts.report, facts.status.get("training", {})
    loss = report.loss if report else told.get("loss")
    metrics: Mapping[str, float | None] = report.metrics if report else told.get("metrics", {})
    shown = [f"loss {units.number(loss)}"] if loss is not None else []
    return shown + [
        f"{name} {units.number(value)}" for name, value in [*metrics.items()][:2] if value is not None
    ]


def _until(facts: Facts) -> str:
    report, told = facts.report, facts.status.get("training", {})
    if report is not None and report.eta_seconds is not None and report.progress is not None:
        left = units.seconds(max(1.0, report.eta_seconds)).replace(".0s", " s")
        return f"{report.progress:.0%} done, about {left} left"
    try:
        rule = units.stop_rule(msgspec.convert(facts.at("stopAfter") or {}, StopAfter))
    except msgspec.ValidationError:
        rule = ""
    share = f"{told['progressPercent']}% done, " if "progressPercent" in told else ""
    return f"{share}until {rule or 'it is stopped'}"
