"""What happened between two statuses, as moments with a sentence: the flags of the lanes and the marks of the charts.

Pure. A moment is {"t", "kind", "text"} and, where it is about one, "worker" or "shard". Kinds: joined, left, lost,
hung, rejected, readmitted, term, checkpoint, refused, lostupdates, rollback, diverged, notice, edit, phase.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from asgd.report import lines, units
from asgd.spec.status import Status

Moment = dict[str, Any]
MOST = 600
"""Moments that are kept, the newest ones."""
_MEMBERS = {
    "joined": "worker {} joined{}",
    "left": "worker {} left",
    "lost": "worker {} was lost: its heartbeats stopped or its process died",
    "hung": "worker {} was given up: it made no progress although it lives",
}


def moments(before: Status | None, now: Status, earliest: float, t: float) -> list[Moment]:
    """Between `before` and `now`, which is known at `t`; none is earlier than `earliest`. In order of time."""
    offset = t - now.seconds
    known = {(worker.index, worker.incarnation) for worker in before.workers} if before else set()
    found: list[Moment] = []
    for event in lines.events(before, now, earliest, offset):
        if isinstance(event, lines.Server):
            text = f"shard {event.shard} came back, term {event.term}"
            found.append({"t": event.t, "kind": "term", "shard": event.shard, "text": text})
            continue
        again = any(
            index == event.worker and incarnation != event.incarnation for index, incarnation in known
        )
        where = f" again on {event.node}" if again and event.node else " again" if again else ""
        text = _MEMBERS[event.event].format(event.worker, where)
        found.append({"t": event.t, "kind": event.event, "worker": event.worker, "text": text})
    if before is not None:
        found += (moment | {"t": t} for moment in _of_job(before, now))
    return sorted(found, key=lambda moment: float(moment["t"]))


def _of_job(before: Status, now: Status) -> Iterator[Moment]:
    for worker in sorted({*now.rejected_workers} - {*before.rejected_workers}):
        yield {"kind": "rejected", "worker": worker, "text": f"worker {worker} is not listened to for a time"}
    for worker in sorted({*before.rejected_workers} - {*now.rejected_workers}):
        yield {"kind": "readmitted", "worker": worker, "text": f"worker {worker} is listened to again"}
    saved, saved_before = now.checkpoint, before.checkpoint
    if saved and (saved_before is None or saved.updates != saved_before.updates):
        text = f"checkpoint of update {saved.updates:,}, {units.size(saved.bytes)}"
        yield {"kind": "checkpoint", "text": text, "updates": saved.updates, "bytes": saved.bytes}
    if now.checkpoint_error and now.checkpoint_error != before.checkpoint_error:
        yield {"kind": "notice", "text": f"a checkpoint failed: {now.checkpoint_error}"}
    for reason, count in now.refused.items():
        if (more := count - before.refused.get(reason, 0)) > 0:
            yield {"kind": "refused", "reason": reason, "count": more,
                   "text": f"{units.plural(more, 'push', 'es')} refused: {reason}"}  # fmt: skip
    if (lost := now.lost_updates - before.lost_updates) > 0:
        yield {"kind": "lostupdates", "text": f"{units.plural(lost, 'update')} lost with a server"}
    if now.rollbacks > before.rollbacks:
        yield {"kind": "rollback", "text": now.rollback_detail or "the job went back to a checkpoint"}
    newest = max((notice.number for notice in before.notices), default=0)
    for notice in now.notices:
        if notice.number > newest and notice.about != "rollback":
            yield {"kind": "notice", "text": notice.text}
    if now.evaluation_error and now.evaluation_error != before.evaluation_error:
        yield {"kind": "notice", "text": f"an evaluation failed: {now.evaluation_error}"}
    if now.stop_after != before.stop_after:
        yield {"kind": "edit", "text": f"stopAfter is now {told_rule(now)}"}
    if now.phase != before.phase:
        why = f": {now.stop_reason}" if now.stop_reason and now.phase != "running" else ""
        kind = "diverged" if now.phase == "finished" and now.stop_reason == "diverged" else "phase"
        yield {"kind": kind, "text": f"the job is {now.phase}{why}"}


def told_rule(status: Status) -> str:
    """The stop rule, as JSON without what is not given."""
    rule = {
        name: value for name, value in msgspec.to_builtins(status.stop_after).items() if value is not None
    }
    return msgspec.json.encode(rule).decode()


def merged(kept: list[Moment], new: list[Moment]) -> list[Moment]:
    """`kept` with the `new` ones, bounded; refusals of one reason that follow each other within 5 s are one moment."""
    for moment in new:
        last = next((m for m in reversed(kept[-8:]) if m.get("reason") == moment.get("reason")), None)
        if moment["kind"] == "refused" and last and moment["t"] - last["t"] < 5.0:
            last["count"] += moment["count"]
            last["text"] = f"{units.plural(last['count'], 'push', 'es')} refused: {moment['reason']}"
        else:
            kept.append(moment)
    return kept[-MOST:]
