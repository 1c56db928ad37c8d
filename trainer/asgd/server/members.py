"""Who takes part in the job: the members of this moment, and a bounded memory of those that were. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from asgd.server.mean import Mean
from asgd.server.progress import Debt
from asgd.spec.status import PhasesView, WorkerTimes
from asgd.wire.messages import Granted

PAST_MOST = 256
"""So many members that ended are remembered one by one."""
STRANGERS_MOST = 1024


@dataclass(slots=True)
class Member:
    """A worker that joined; kept after its end for the report."""

    index: int
    incarnation: int
    joined: float
    heard: float
    debt: Debt
    node: str = ""
    ended: float | None = None
    state: str = "running"
    samples: int = 0
    unusable: int = 0
    """Batches whose loss or gradient was not finite."""
    unusable_in_a_row: int = 0
    mean_loss: Mean = field(default_factory=Mean)
    resting: bool = False
    """No data for it now: it neither computes nor pushes, and nobody must wait for it."""
    own_loop: bool = False
    """It runs a loop of its own, which may do other things between two steps."""
    times: WorkerTimes = field(default_factory=WorkerTimes)
    phases: PhasesView = field(default_factory=PhasesView)
    phases_at: float = 0.0
    """When it told them."""
    lane: str = ""
    """What its exchanges go over, as it says."""
    number: int = 0
    """Memberships are numbered within a term of shard 0: a worker that was given up begins another."""
    asked: int = 0
    granted: Granted | None = None
    """The answer to its newest request for a lease: a request that is repeated gets no second one."""

    @property
    def loss(self) -> float | None:
        """The mean over its newest pushes."""
        return self.mean_loss.value


class Roster:
    """Members come and go. Times are seconds."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.past: deque[Member] = deque(maxlen=PAST_MOST)
        self.unlisted = 0
        """How many more have ended than `past` holds."""
        self.absent: dict[int, float] = {}
        """{index: when its last member ended}."""
        self._joins = 0
        self._known: dict[int, Member] = {}
        """{index: its newest member}."""
        self._strangers: dict[int, tuple[int, float]] = {}

    def join(self, index: int, incarnation: int, node: str, now: float) -> bool:
        """A worker becomes a member; True when it is another process than the one of this index before."""
        before = self._known.get(index)
        again = before is not None and before.incarnation == incarnation
        self._joins += 1
        member = Member(index, incarnation, now, now, Debt(now), node, number=self._joins)
        if before is not None and again:
            # NB: requests of the membership before may be on their way still.
            member.debt.pace, member.asked = before.debt.pace, before.asked
        self.members[index] = self._known[index] = member
        self.absent.pop(index, None)
        self._strangers.pop(index, None)
        return before is not None and not again

    def end(self, member: Member, state: str, now: float) -> None:
        """A member is one no longer."""
        member.state, member.ended = state, now
        self.unlisted += len(self.past) == PAST_MOST
        self.past.append(self.members.pop(member.index))
        self.absent[member.index] = now

    def left(self, index: int, incarnation: int) -> bool:
        """Whether this very process was a member and has said goodbye."""
        known = self._known.get(index)
        return known is not None and (known.incarnation, known.state) == (incarnation, "left")

    def silent(self, seconds: float, now: float) -> list[Member]:
        """Members of whom nothing was heard for longer than `seconds`."""
        return [member for member in self.members.values() if now - member.heard > seconds]

    def stranger(self, index: int, incarnation: int, now: float) -> float:
        """A process that is no member shows signs of life; for how many seconds it has done so without a hello."""
        known, since = self._strangers.get(index, (incarnation, now))
        if known != incarnation:
            known, since = incarnation, now
        if index in self._strangers or len(self._strangers) < STRANGERS_MOST:
            self._strangers[index] = (known, since)
        return now - since

    def excuse_progress(self, seconds: float, now: float) -> None:
        """For so long nobody could make progress."""
        for member in self.members.values():
            member.debt.since = min(now, member.debt.since + seconds)

    def excuse(self, seconds: float, now: float) -> None:
        """For so long nobody could be heard, nor make progress."""
        self.excuse_progress(seconds, now)
        for member in self.members.values():
            member.heard = min(now, member.heard + seconds)
        self.absent = {index: min(now, since + seconds) for index, since in self.absent.items()}
        self._strangers = {
            index: (known, min(now, since + seconds)) for index, (known, since) in self._strangers.items()
        }
