"""Shard 0's side of a save: it asks for one, collects what the shards wrote, and has the manifest written last.

Pure. A save ends in one of three ways, each within a bound: its manifest is written, a shard says why it has failed,
or it is given up. One that is asked for while another is under way follows it.
"""

from __future__ import annotations

import json
from typing import Any

from asgd.server.coordinator import Coordinator
from asgd.server.facts import SaveFacts
from asgd.server.manifest import Manifest
from asgd.server.saving import Outcome, Publish, Saving, patience
from asgd.server.shard import Shard
from asgd.spec.types import Job
from asgd.wire.reports import Part, SaveReport, ShardReport

SAVES_MOST = 100
"""So many saves are told of at once."""


class Collecting:
    """The saves of `job`, for which `saving` is shard 0's own part in them."""

    def __init__(self, job: Job, run: str, shard: Shard, coordinator: Coordinator, saving: Saving) -> None:
        self._job, self._run, self._shard = job, run, shard
        self._coordinator, self._saving = coordinator, saving
        self.newest: Manifest | None = None
        """Of the newest complete save."""
        self.newest_at = 0.0
        """When it was written, on the core's own clock."""
        self.complete_saves = dict(saving.facts.complete)
        """{number: updates} of those that a job may go back to."""
        self._told: dict[int, SaveReport] = {}
        """{number: what is told of it} of what this start has written, and of the save that it goes on from."""
        self.error = ""
        """Why the newest attempt failed; empty when it did not."""
        self._number = 0
        self._parts: dict[int, Part] = {}
        self._failed = ""
        self._published = 0
        self._again = False
        self._counts = (0, 0)
        """(updates, samples) of the job in shard 0's newest part."""
        coordinator.save_round = coordinator.saved_round = saving.facts.newest_begun

    def restored(self, manifest: Manifest | None, at: float) -> None:
        """The job goes on where the store's newest complete save, or none, was written `at` this time."""
        self.newest, self.newest_at = manifest, at
        if manifest:
            self._told[manifest.save] = self._report(manifest)

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, now: float) -> None:
        """Starts a save at once, or after the one under way, if there is anything new to save."""
        coordinator = self._coordinator
        diverged = coordinator.stop_reason == "diverged" or coordinator.going_back
        if not self._shard.ready or self.all_saved or diverged:
            return
        if coordinator.save_asked is None:
            coordinator.ask_save(now, 0)
        else:
            self._again = True

    @property
    def all_saved(self) -> bool:
        """Nothing has changed since the newest complete save."""
        return self.newest is not None and self.newest.updates == self._coordinator.updates

    @property
    def complete(self) -> int:
        """Number of the newest complete save; 0: none."""
        return self.newest.save if self.newest else 0

    def back(self, others: int, now: float) -> tuple[int, int, str] | None:
        """As `Primary.back`, where other shards have gone back `others` times."""
        coordinator, own = self._coordinator, self._shard.rollbacks
        # NB: others are ahead of a start that was killed right after a rollback, before a save, and knows of none.
        if not coordinator.going_back and others <= own:
            return None
        if save := self.to_go_back_to():
            return max(own + 1, others), save, coordinator.going_back
        # NB: a save under way may be the first; how long it is waited for is its own bound.
        if coordinator.going_back and not self.under_way:
            coordinator.stay(now)
        return None

    def to_go_back_to(self) -> int:
        """The save that a job goes back to that has diverged; 0: there is none.

        The newest one, unless the job has diverged again soon after it went back: then one from before that, or the
        oldest, for what was saved on the way to a divergence may be past saving at any rate.
        """
        coordinator, saves = self._coordinator, self.complete_saves
        if coordinator.diverged_again:
            return max(self._spared, default=min(saves, default=0))
        return max(saves, default=0)

    @property
    def _spared(self) -> frozenset[int]:
        """Soon after the job went back: the save from before that one, in case that it diverges again."""
        if not self._coordinator.diverged_again:
            return frozenset()
        back_at = self._coordinator.back_at
        return frozenset(sorted(number for number, at in self.complete_saves.items() if at < back_at)[-1:])

    def facts(self, now: float) -> SaveFacts | None:
        """What is told of the newest complete save."""
        if self.newest is None:
            return None
        told = self._report(self.newest)
        return SaveFacts(told.updates, told.uri, max(0.0, now - self.newest_at), told.bytes)

    def saves(self) -> list[SaveReport]:
        """The newest `checkpoint.keep` complete saves, oldest first, at most `SAVES_MOST`."""
        keep = min(self._coordinator.spec.checkpoint.keep, SAVES_MOST)
        return [self._told[number] for number in sorted(self._told)[-keep:]]

    def _report(self, manifest: Manifest) -> SaveReport:
        uri = f"{self._saving.facts.uri.rstrip('/')}/{manifest.save:06d}"
        size = sum(part.bytes for part in manifest.parts)
        return SaveReport(manifest.save, manifest.updates, uri, size)

    @property
    def under_way(self) -> int:
        """Number of the save under way; 0: none."""
        return self._coordinator.save_round if self._coordinator.save_asked is not None else 0

    def state(self, now: float) -> dict[str, Any]:
        """The job's part of shard 0's file, which is made at this moment."""
        self._counts = (self._coordinator.updates, self._coordinator.samples)
        return self._coordinator.state(now)

    # -- collecting --------------------------------------------------------------------------------

    def report(self, shard: int, report: ShardReport) -> None:
        """Another shard is through with a save."""
        self._number_above(report.save)
        self._begin()
        if report.save and report.save == self._number:
            self._take(shard, report.part, report.error)

    def _number_above(self, number: int) -> None:
        """An earlier shard 0 has asked for save `number`, which the store refused: no shard makes one of it again.

        NB: the store tells a start of shard 0 only of numbers whose parts are there.
        """
        coordinator = self._coordinator
        if number > coordinator.save_round:
            coordinator.save_round = number + 1 if self.under_way else number
            coordinator.saved_round = number

    def _take(self, shard: int, part: Part | None, error: str) -> None:
        if part:
            self._parts[shard] = part
        elif error:
            self._failed = self._failed or error

    def _begin(self) -> None:
        """A save that was asked for since the last look begins without parts."""
        if self.under_way and self.under_way != self._number:
            self._number, self._parts, self._failed = self.under_way, {}, ""

    def tick(self, now: float) -> None:
        """Looks whether the save under way is complete, has failed, or takes too long."""
        self._begin()
        asked = self._coordinator.save_asked
        if asked is None:
            return
        if self._saving.number == self._number:
            self._take(0, self._saving.part, self._saving.error)
        if self._failed:
            self._end(self._failed, now)
        elif now - asked > 2 * patience(4 * (self._shard.size or 0)):
            self._end(self._overdue(now - asked), now)
        elif len(self._parts) == self._shard.shards and self._published < self._number:
            self._published = self._number
            keep = self._coordinator.spec.checkpoint.keep
            self._saving.ask(Publish(self._manifest(), keep, self._spared))

    def published(self, outcome: Outcome, manifest: Manifest, now: float) -> None:
        """The store has answered about a manifest."""
        if outcome.done:
            self.newest, self.newest_at = manifest, now
            self.complete_saves[manifest.save] = manifest.updates
            self._told[manifest.save] = self._report(manifest)
            self._told = {save.number: save for save in self.saves()}
            keep, spared = self._coordinator.spec.checkpoint.keep, self._spared
            for old in set(sorted(self.complete_saves)[:-keep]) - spared:
                del self.complete_saves[old]
        if manifest.save == self.under_way:
            self._end(outcome.error, now)

    def _end(self, error: str, now: float) -> None:
        self.error = error
        self._coordinator.saved(now)
        if self._again:
            self._again = False
            self.ask(now)

    def _overdue(self, seconds: float) -> str:
        missing = [shard for shard in range(self._shard.shards) if shard not in self._parts]
        what = f"shard {missing[0]} has not written its part" if missing else "its manifest was not written"
        return f"checkpoint {self._number} was given up after {seconds:.0f} s: {what}"

    def _manifest(self) -> Manifest:
        shard = self._shard
        return Manifest(
            job=self._job.name,
            save=self._number,
            term=shard.term,
            size=shard.size or 0,
            layout=shard.layout,
            tensors=json.loads(self._coordinator.tensors or b"[]"),
            algorithm=str(self._job.spec.algorithm["name"]),
            updates=self._counts[0],
            samples=self._counts[1],
            parts=[self._parts[index] for index in range(shard.shards)],
            time=0.0,
            run=self._run,
            rollbacks=shard.rollbacks,
        )
