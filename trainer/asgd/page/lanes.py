"""What each worker did over time, as letters of `spec/phases.py`: minutes finely, the whole run coarsely. Pure.

Time is cut into slots that are the same for all workers: slot n of a row of letters is [n, n+1) times its seconds.
Letters come late by a heartbeat and a question to shard 0, so a slot is settled `LATE_SECONDS` after its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgd.spec.phases import SLOT_SECONDS, UNKNOWN, together
from asgd.spec.status import PhasesView

LATE_SECONDS = 2.5
FINE_MOST, SECONDS_MOST, COARSE_MOST = 480, 900, 600
"""Slots that are kept of a quarter of a second, of a second, and of the whole run."""
DRIFT_MOST = 2
"""By so many slots may a worker's clock seem to differ before its letters are placed anew."""


class Row:
    """Letters from slot `start` on, of slots of `seconds`."""

    def __init__(self, seconds: float, most: int, start: int = 0, letters: str = "") -> None:
        self.seconds, self.most, self.start = seconds, most, start
        self.letters = bytearray(letters.encode("ascii", "replace"))

    @property
    def stop(self) -> int:
        """The slot after the newest one."""
        return self.start + len(self.letters)

    def put(self, slot: int, letters: str) -> None:
        """Letters of the slots from `slot` on; what was not told before them is unknown."""
        if not self.letters:
            self.start = slot
        if slot < self.start:
            letters, slot = letters[self.start - slot :], self.start
        if slot - self.stop > self.most:
            self.letters, self.start = bytearray(), slot
        self.letters.extend(UNKNOWN.encode() * (slot - self.stop))
        at = slot - self.start
        self.letters[at : at + len(letters)] = letters.encode("ascii", "replace")
        if (over := len(self.letters) - self.most) > 0:
            del self.letters[:over]
            self.start += over

    def part(self, start: int, stop: int) -> str:
        """The letters of [start, stop), unknown ones included."""
        begin, end = max(start, self.start), min(stop, self.stop)
        if begin >= end:
            return UNKNOWN * max(0, stop - start)
        found = self.letters[begin - self.start : end - self.start].decode()
        return UNKNOWN * (begin - start) + found + UNKNOWN * (stop - end)

    def told(self) -> list[Any]:
        """For a page or a file."""
        return [self.start, self.letters.decode()]


class Lane:
    """One worker's rows."""

    def __init__(self) -> None:
        self.fine = Row(SLOT_SECONDS, FINE_MOST)
        self.by_second = Row(1.0, SECONDS_MOST)
        self.coarse = Row(1.0, COARSE_MOST)
        self._placed: tuple[int, int] | None = None
        """Incarnation, and the slot at which its letters begin."""
        self._number = 0

    def tell(self, incarnation: int, view: PhasesView, now: float) -> None:
        """What the worker has told of itself, as it is known at `now`."""
        if not view.letters or (
            self._placed and self._placed[0] == incarnation and view.number <= self._number
        ):
            return
        begin = round((now - view.seconds_ago) / SLOT_SECONDS) - view.number
        if (
            self._placed is None
            or self._placed[0] != incarnation
            or abs(begin - self._placed[1]) > DRIFT_MOST
        ):
            self._placed = incarnation, begin
        self._number = view.number
        self.fine.put(self._placed[1] + view.number - len(view.letters), view.letters)


class Lanes:
    """All workers' lanes up to the newest settled slot."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        self.settled = 0
        """Seconds that are settled."""
        self.coarse_seconds = 1

    def tell(self, worker: int, incarnation: int, view: PhasesView, now: float) -> None:
        """What a worker has told of itself."""
        if view.letters:
            self.lanes.setdefault(worker, Lane()).tell(incarnation, view, now)

    def settle(self, now: float) -> tuple[int, dict[int, str]]:
        """Moves on to `now`; returns the first slot that is settled newly, and {worker: its letters from there}."""
        begin, self.settled = self.settled, max(self.settled, int(now - LATE_SECONDS))
        # NB: after a long silence (a machine that slept) older slots are unknown anyway.
        begin = max(begin, self.settled - FINE_MOST // 4)
        while self.settled / self.coarse_seconds > COARSE_MOST:
            self._coarsen()
        found = {}
        for worker, lane in self.lanes.items():
            letters = lane.fine.part(4 * begin, 4 * self.settled)
            if letters.strip():
                found[worker] = letters
                seconds = [together(letters[at : at + 4]) for at in range(0, len(letters), 4)]
                lane.by_second.put(begin, "".join(seconds))
            self._settle_coarse(lane, begin)
        return 4 * begin, found

    def _settle_coarse(self, lane: Lane, begin: int) -> None:
        step = self.coarse_seconds
        for slot in range(begin // step, self.settled // step):
            letters = lane.by_second.part(slot * step, (slot + 1) * step)
            if letters.strip():
                lane.coarse.put(slot, together(letters))

    def _coarsen(self) -> None:
        self.coarse_seconds *= 2
        for lane in self.lanes.values():
            old, first = lane.coarse, lane.coarse.start // 2
            pairs = [old.part(2 * slot, 2 * slot + 2) for slot in range(first, (old.stop + 1) // 2)]
            # NB: the last pair may be half: what is known of it stands for all.
            letters = "".join(together(pair.strip() or pair) for pair in pairs)
            lane.coarse = Row(1.0, COARSE_MOST, first, letters)

    def told(self) -> dict[str, Any]:
        """For a page or a file: {worker: [slot, letters] of each row}."""
        return {
            "settled": self.settled,
            "coarseSeconds": self.coarse_seconds,
            "rows": {
                str(worker): [lane.fine.told(), lane.by_second.told(), lane.coarse.told()]
                for worker, lane in sorted(self.lanes.items())
            },
        }

    def load(self, told: Mapping[str, Any]) -> None:
        """Goes on after what `told` returned."""
        self.settled, self.coarse_seconds = int(told["settled"]), int(told["coarseSeconds"])
        for worker, (fine, by_second, coarse) in told["rows"].items():
            lane = self.lanes[int(worker)] = Lane()
            lane.fine = Row(SLOT_SECONDS, FINE_MOST, *fine)
            lane.by_second = Row(1.0, SECONDS_MOST, *by_second)
            lane.coarse = Row(1.0, COARSE_MOST, *coarse)
