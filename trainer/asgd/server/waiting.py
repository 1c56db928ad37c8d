"""What the job waits for at this moment, in one sentence: shown while nothing moves, so that no wait is silent.

Seconds are rounded so that the sentence changes now and then and not with every look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from asgd.server import progress
from asgd.server.coordinator import Coordinator
from asgd.server.evaluation import FINAL_SECONDS
from asgd.server.members import Member

QUIET_SECONDS = 30.0
"""A running job that has taken no push for so long says why."""
SHORT_SECONDS = 10.0
"""Other phases say what they wait for when they have lasted so long."""


def waiting_for(coordinator: Coordinator, save_error: str, now: float) -> str:
    """The sentence; empty while the job moves on, and when it is finished. `save_error`: what is wrong with saving."""
    if coordinator.phase == "running":
        return _running(coordinator, now)
    if coordinator.phase == "saving":
        why = save_error or "a part of it, or its manifest, is being written"
        return f"the final checkpoint: {why}" if now - coordinator.phase_since > SHORT_SECONDS else ""
    rule = _RULES.get(coordinator.phase)
    starting = coordinator.phase == "starting"
    lasted = coordinator.age(now) if starting else now - coordinator.phase_since
    return rule(coordinator, now) if rule and lasted > SHORT_SECONDS else ""


def rounded(seconds: float) -> str:
    """`40 s`, `3 min`: coarser as it grows."""
    if seconds < 10:
        return f"{seconds:.0f} s"
    return f"{seconds // 10 * 10:.0f} s" if seconds < 600 else f"{seconds // 60:.0f} min"


def stall(coordinator: Coordinator, now: float) -> str:
    """The member that is furthest behind, if one is to be named."""
    late = [(coordinator.idle(member, now), member) for member in coordinator.members.values()]
    late = [(idle, member) for idle, member in late if coordinator.stalled(member, idle)]
    if not late:
        return ""
    idle, member = max(late, key=lambda each: each[0])
    more = f" ({len(late) - 1} more are behind)" if len(late) > 1 else ""
    limit = coordinator.deadline(member)
    behind = progress.sentence(member, coordinator.held(member.index), rounded(idle))
    return f"{behind}{more}; it is given up after {limit:.0f} s"


def _starting(coordinator: Coordinator, now: float) -> str:
    if coordinator.stop_reason:
        return ""
    since = rounded(coordinator.age(now))
    limit = f"at most {coordinator.spec.run_policy.startup_deadline_seconds:,} s"
    if not coordinator.members:
        return f"no worker has joined for {since}, {limit}"
    if bringing := [member for member in coordinator.members.values() if member.debt.brings]:
        return f"worker {bringing[0].index} brings the initial weights"
    return stall(coordinator, now) or (
        f"the first push of {_names(coordinator.members.values())}, for {since}, {limit}"
    )


def _running(coordinator: Coordinator, now: float) -> str:
    quiet = now - max(coordinator.last_push, coordinator.began or 0.0)
    if coordinator.finished_loops and (seats := coordinator.unfinished(now)) and not coordinator.members:
        limit = coordinator.spec.run_policy.startup_deadline_seconds
        return f"the own loop of {_numbers(seats)}, which no process runs now: at most {limit:,} s"
    if behind := stall(coordinator, now):
        return behind
    if quiet < QUIET_SECONDS:
        return ""
    if away := coordinator.away(now):
        return f"no push has come for {rounded(quiet)}: shard {away[0]} does not report"
    if not coordinator.members:
        return f"no push has come for {rounded(quiet)}: no worker is there"
    return f"no push has come for {rounded(quiet)}{_from_whom(coordinator)}"


def _from_whom(coordinator: Coordinator) -> str:
    """NB: who has no samples, since others have them all, is not who is waited for."""
    members = coordinator.members.values()
    busy = [each for each in members if not progress.without_data(each, coordinator.held(each.index))]
    if not busy:
        return f": {_names(members)} {'waits' if len(members) == 1 else 'wait'} for samples"
    parked = [member for member in busy if member.debt.parked]
    others = [member for member in busy if not member.debt.parked]
    return f": the others wait for {_names(others)}" if parked and others else f" from {_names(busy)}"


def _stopping(coordinator: Coordinator, now: float) -> str:
    names, limit = _names(coordinator.members.values()), coordinator.spec.workers.drain_seconds
    end = "to finish the push under way, or what a script does after its loop"
    return f"{names} {end}: at most {limit:g} s (workers.drainSeconds)"


def _evaluating(coordinator: Coordinator, now: float) -> str:
    if coordinator.evaluator.awaited:
        return f"an evaluator that has not joined yet: at most {FINAL_SECONDS:.0f} s"
    since, limit = now - coordinator.phase_since, coordinator.evaluator.deadline(coordinator.spec)
    return f"the final evaluation, for {rounded(since)}: at most {limit:.0f} s"


_RULES: dict[str, Callable[[Coordinator, float], str]] = {
    "starting": _starting, "stopping": _stopping, "evaluating": _evaluating,
}  # fmt: skip


def _names(members: Iterable[Member]) -> str:
    return _numbers([member.index for member in members])


def _numbers(indices: Iterable[int]) -> str:
    """`worker 3`, `workers 1, 2`; at most eight of them."""
    known = sorted(indices)
    some = ", ".join(map(str, known[:8])) + (", ..." if len(known) > 8 else "")
    return f"{'worker' if len(known) == 1 else 'workers'} {some}"
