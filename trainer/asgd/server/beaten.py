"""What shard 0 answers to a sign of life: what everybody must know. Pure."""

from __future__ import annotations

from asgd.server.collecting import Collecting
from asgd.server.coordinator import Coordinator
from asgd.wire.messages import Beaten

BUFFERS_SECONDS = 1.0
"""How often workers tell their buffers where evaluations come by updates or epochs."""


def beaten(coordinator: Coordinator, collecting: Collecting | None, rollbacks: int, role: str) -> Beaten:
    """The answer to a beat of `role`; `collecting` None: there is no checkpoint store."""
    evaluation = coordinator.spec.evaluation
    # NB: workers tell their buffers at this pace, and an evaluation by counts may come at any time.
    pace = BUFFERS_SECONDS if role == "worker" and evaluation.counted else evaluation.seconds
    return Beaten(
        workers=len(coordinator.members),
        members={member.index: member.incarnation for member in coordinator.members.values()},
        stop=coordinator.stop_reason,
        final=coordinator.phase in ("evaluating", "finished"),
        save=collecting.under_way if collecting else 0,
        save_at=coordinator.save_at,
        saved=collecting.complete if collecting else 0,
        dataset=coordinator.dataset,
        resting=[member.index for member in coordinator.members.values() if member.resting],
        every_seconds=pace,
        rollbacks=rollbacks,
        back_to=collecting.complete if collecting else 0,
        evaluation_due=coordinator.evaluation_due,
    )
