"""When a server that was told to end may do so: its state is in the store, or its time is up."""

from __future__ import annotations

from asgd.server.participant import Participant
from asgd.server.primary import Primary

LEAVE_SECONDS = 15.0
"""How long a server that was told to end waits for the save that holds its state."""
LINGER_SECONDS = 1.0
"""How much longer shard 0 stays then: others that leave too must hear that the save is complete."""


class Leaving:
    """Begins at `now`, for the server with `duty`."""

    def __init__(self, duty: Primary | Participant, now: float) -> None:
        self._duty = duty
        self._since = self._unsaved_at = now
        if isinstance(duty, Participant):
            duty.leave()
        elif duty.collecting:
            duty.collecting.ask(now)

    def over(self, now: float) -> bool:
        """Whether what is in memory is in the store; true in any case when the time is up."""
        duty = self._duty
        if now - self._since > LEAVE_SECONDS:
            return True
        if isinstance(duty, Participant):
            return duty.all_saved
        if duty.collecting is None or duty.coordinator.phase == "finished":
            return True
        if not duty.collecting.all_saved:
            self._unsaved_at = now
        return now - self._unsaved_at > (LINGER_SECONDS if duty.shard.shards > 1 else 0)
