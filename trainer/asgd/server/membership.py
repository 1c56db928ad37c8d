"""Who is a member, what each owes, and who is given up: the coordinator's part that is about workers.

A member ends by its goodbye, by silence (no heartbeat), or because it hangs: it owes progress and makes none, although
its heartbeat goes on. Whoever ends gives its samples back and is waited for by nobody. A process that was given up is
told so in the answer to its heartbeat and ends itself; one that comes back to life before says hello and is a member
again. Pure; times are seconds.
"""

from __future__ import annotations

from asgd.server import progress
from asgd.server.members import Member, Roster
from asgd.server.notices import Notices
from asgd.server.pool import Pool
from asgd.spec.types import JobSpec

MEMBER_TIMEOUT_SECONDS = 10.0
"""Heartbeats come once a second from a thread of their own; a compile or a long step does not silence them."""
SHARD_SILENT_SECONDS = 3.0
"""A shard that reports ten times a second and has not for so long is away: who waits for it owes nothing."""


class Membership:
    """The workers of the job of `spec`."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.roster = Roster()
        self.members, self.past = self.roster.members, self.roster.past
        self.pool: Pool | None = None
        self.stop_reason = ""
        self.finished_loops: set[int] = set()
        """Workers whose own loop or stream came to its end."""
        self.seen: set[int] = set()
        self.lost: set[int] = set()
        """Indices that ever joined, and those that were lost or hung at least once."""
        self.restarts: dict[str, int] = {"worker": 0, "server": 0}
        self.notices = Notices()
        self.began: float | None = None
        """The first moment that was told."""
        self._given_up: dict[int, tuple[int, str]] = {}
        self._shards_heard: dict[int, float] = {}
        self._ticked: float | None = None

    # -- coming and going --------------------------------------------------------------------------

    def hello(
        self,
        index: int,
        incarnation: int,
        node: str,
        now: float,
        brings: bool = False,
        own_loop: bool = False,
    ) -> None:
        """A worker joined or came back; `brings`: it is asked for the initial weights; `own_loop`: as in `Hello`."""
        self._begin(now)
        known = self.members.get(index)
        if known and known.incarnation >= incarnation:
            # An older one is a zombie: the shard refuses it.
            if known.incarnation == incarnation:
                known.heard, known.debt.brings = now, brings
                self._progressed(known, now)
            return
        if known:
            self._end(known, "lost", now)
        if self.roster.join(index, incarnation, node, now):
            self.restarts["worker"] += 1
        self.members[index].debt.brings, self.members[index].own_loop = brings, own_loop
        self.seen.add(index)
        self.finished_loops.discard(index)
        self._given_up.pop(index, None)

    def bye(self, index: int, incarnation: int, lost: bool, now: float) -> None:
        """A worker left, or its parent says that it died."""
        member = self.members.get(index)
        if member and member.incarnation == incarnation:
            self._end(member, "lost" if lost else "left", now)

    def heard(self, index: int, incarnation: int, now: float) -> bool:
        """A worker's heartbeat; False when it is not a member (it was given up) and must say hello again."""
        member = self.members.get(index)
        if member is not None and member.incarnation == incarnation:
            member.heard = now
            return True
        if not self.stop_reason:
            self._look_at_stranger(index, incarnation, now)
        return False

    def age(self, now: float) -> float:
        """Seconds since the first moment that was told."""
        return 0.0 if self.began is None else now - self.began

    def unfinished(self, now: float) -> list[int]:
        """Workers whose own loop has not ended and is waited for; who is away for too long is waited for no more."""
        limit, began = (
            self.spec.run_policy.startup_deadline_seconds,
            now if self.began is None else self.began,
        )
        return [
            seat
            for seat in range(self.spec.workers.replicas)
            if seat not in self.finished_loops
            and (seat in self.members or now - self.roster.absent.get(seat, began) <= limit)
        ]

    def _begin(self, now: float) -> None:
        self.began = now if self.began is None else self.began

    def _end(self, member: Member, state: str, now: float) -> None:
        self.roster.end(member, state, now)
        if state != "left":
            self.lost.add(member.index)
        if self.pool:
            self.pool.release(member.index)

    # -- progress ----------------------------------------------------------------------------------

    def active(self, index: int, now: float) -> None:
        """Something of a member's work arrived: a chunk of a push, or a pull that is answered."""
        if member := self.members.get(index):
            self._progressed(member, now)
            member.debt.brings = False

    def brought(self, index: int, now: float) -> None:
        """A chunk of the initial weights arrived."""
        if member := self.members.get(index):
            self._progressed(member, now)

    def parked(self, index: int) -> None:
        """A member's pull is held back: it waits for others, and owes nothing until it is answered."""
        if member := self.members.get(index):
            member.debt.parked = True

    def shard_heard(self, index: int, now: float) -> None:
        """Another shard has reported that it serves. While one does not, nobody's time runs: they may wait for it."""
        self._shards_heard[index] = now

    def given_up(self, index: int, incarnation: int) -> str:
        """Why this process has to end; empty when it may go on."""
        known, why = self._given_up.get(index, (incarnation, ""))
        return why if known == incarnation else ""

    def held(self, index: int) -> int:
        """Samples that are leased to a worker and not pushed."""
        return self.pool.held(index) if self.pool else 0

    def idle(self, member: Member, now: float) -> float:
        """Seconds for which a member has owed progress without making any."""
        return 0.0 if self.stop_reason else progress.idle(member, self.held(member.index), now)

    def deadline(self, member: Member) -> float:
        """Seconds without progress after which a member is given up."""
        return progress.deadline(self.spec, member, self.pool is not None and not member.own_loop)

    def stalled(self, member: Member, idle: float) -> bool:
        """Whether a member that is `idle` seconds behind is to be named."""
        # NB: a cheap look first; there may be hundreds of members.
        least = self.spec.workers.progress_deadline_seconds or progress.LEAST_SECONDS
        return idle > min(least, progress.BRING_SECONDS) / 2 and progress.stalled(idle, self.deadline(member))

    def away(self, now: float) -> list[int]:
        """Shards that have served and do so no longer, as far as they report."""
        return [shard for shard, at in self._shards_heard.items() if now - at > SHARD_SILENT_SECONDS]

    def excuse(self, seconds: float, now: float) -> None:
        """This process itself stood still for so long (a frozen machine, a stopped process): nobody was silent then."""
        self.roster.excuse(seconds, now)
        self._shards_heard = {shard: min(now, at + seconds) for shard, at in self._shards_heard.items()}
        if self.began is not None:
            self.began = min(now, self.began + seconds)

    def _progressed(self, member: Member, now: float) -> None:
        debt = member.debt
        if not debt.parked and not member.resting:
            debt.pace.waited(now - debt.since)
        debt.since, debt.parked = now, False

    def _look_at_members(self, now: float) -> list[Member]:
        """Ends members that are silent or hang; returns them."""
        self._begin(now)
        if self._ticked is not None and self.away(now):
            self.roster.excuse_progress(now - self._ticked, now)
        self._ticked = now
        gone = self.roster.silent(MEMBER_TIMEOUT_SECONDS, now)
        for member in gone:
            self._end(member, "lost", now)
        return gone + self._end_hung(now)

    def _end_hung(self, now: float) -> list[Member]:
        late = [(member, self.idle(member, now)) for member in self.members.values()]
        hung = [
            member for member, idle in late if self.stalled(member, idle) and idle > self.deadline(member)
        ]
        for member in hung:
            held = self.held(member.index)
            why = progress.sentence(member, held, f"{now - member.debt.since:.0f} s")
            others = "its samples go to others, " if held else ""
            self._give_up(
                member.index, member.incarnation, f"{why}: {others}nobody waits for it, it has to end"
            )
            self._end(member, "hung", now)
        return hung

    def _give_up(self, index: int, incarnation: int, why: str) -> None:
        self._given_up[index] = (incarnation, why)
        self.notices.add(why)

    def _look_at_stranger(self, index: int, incarnation: int, now: float) -> None:
        """A process that only its heartbeat speaks for: after a restart of shard 0, one that hung before."""
        seconds = self.roster.stranger(index, incarnation, now)
        if seconds > self.spec.run_policy.startup_deadline_seconds and not self.given_up(index, incarnation):
            why = f"worker {index} lives and has not joined for {seconds:.0f} s: it has to end"
            self._give_up(index, incarnation, why)
