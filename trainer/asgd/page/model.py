"""What people look at of a job, from its statuses and the time: whole as a snapshot, and what each second brings. Pure.

`told` is given a status once a second. Nothing here grows without a bound: charts and the heat map thin out, lanes keep
minutes finely and the run coarsely, moments and evaluations the newest hundreds. Times are seconds since the page's
beginning, `t`; `wall` is the time of day of t = 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from asgd.page import events
from asgd.page.columns import Columns
from asgd.page.heat import Heat
from asgd.page.lanes import LATE_SECONDS, Lanes
from asgd.page.rates import Rates
from asgd.page.sentence import SILENT_SECONDS, Seen, findings, headline, unreadable
from asgd.page.waits import Waits
from asgd.spec.phases import shares
from asgd.spec.status import Status, WorkerView

VERSION = 1
"""Of what is told; a file of another one is not read."""
EVALUATIONS_MOST = 800
LATE_PAGE_SECONDS = 30.0
LATE_PAGE = "the page begins here: what it showed before, if anything, is kept nowhere"
"""Of a job that has trained for longer when its page begins, from nothing."""
LATELY_SECONDS = 20
"""Shares of the workers' time are of so long."""

Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while a job runs."""

    job: str
    folder: str = ""
    where: str = "here"
    """here: `asgd run`; cluster; simulated."""
    spec: str = ""
    """The job as YAML."""
    bound: int | None = None
    """Of staleness; None: there is none."""
    commands: Mapping[str, str] = field(default_factory=dict)
    wall: float = 0.0
    """Seconds since 1970 at t = 0."""
    run: str = ""
    """Another one is another job, though it has the same name; empty where a folder holds one job alone."""


class Model:
    """The page of one job."""

    def __init__(self, about: About) -> None:
        self.about = about
        self.columns, self.lanes, self.heat, self.rates = Columns(), Lanes(), Heat(), Rates()
        self.moments: list[events.Moment] = []
        self.evaluations: list[Told] = []
        self.status: Status | None = None
        self.over = False
        """Nothing will be told any more."""
        self.unread = ""
        """Why what shard 0 answers cannot be read; empty while it can."""
        self.t = 0.0
        self._heard = 0.0
        self._waits = Waits()
        self._waits_since: float | None = None
        self._waits_until = 0.0
        self._rows: list[list[Any]] = []
        self._evaluated: tuple[int, dict[str, Any]] = 0, {}
        self._losses: list[tuple[float, float]] = []
        self.lives: dict[int, list[list[Any]]] = {}

    # -- what is told ------------------------------------------------------------------------------

    def tell(self, status: Status | None, t: float, fresh: bool = True) -> Told:
        """The newest status at `t`; returns what is new since the last call. `fresh`: shard 0 has told it just now."""
        if status is None:
            self._waits_since = t if self._waits_since is None else self._waits_since
            self._waits_until = t
            return {"t": _short(t), "say": self._say(t)}
        earliest, self.t = self.t, t
        self._heard = t if fresh else self._heard
        new = events.moments(self.status, status, earliest, t)
        if self.status is None:
            new = self._at_first(status, new, earliest, t)
        turned = self._note_lives(status, t)
        self.moments = events.merged(self.moments, new)
        if fresh:
            self.rates.tell(status, t)
        self._waits.tell(status.workers)
        staleness = self._tell_workers(status, t)
        # NB: at the end nothing comes late any more.
        slot, letters = self.lanes.settle(t + LATE_SECONDS * self.over)
        row = self._row(status, t, staleness)
        self.columns.add(row)
        rows = [self._worker(worker) for worker in _newest(status.workers)]
        known = {before[0]: before for before in self._rows}
        changed = [now for now in rows if known.get(now[0]) != now]
        self.status, self._rows = status, rows
        return {
            "t": _short(t),
            "row": row,
            "now": _now(status),
            "say": self._say(t),
            "workers": changed,
            "lives": {str(index): self.lives[index] for index in turned},
            "lanes": {"slot": slot, "coarseSeconds": self.lanes.coarse_seconds, "letters": letters},
            "heat": self.heat.newest(),
            "rates": self.rates.told(),
            "waits": self._waits.lately(),
            "moments": self.moments[-40:] if new else [],
            "evaluations": self._new_evaluation(status, row),
        }

    def _at_first(
        self, status: Status, new: list[events.Moment], earliest: float, t: float
    ) -> list[events.Moment]:
        """Of the first status: who has joined before is no news where an earlier page has told it."""
        if not earliest and status.seconds - t > LATE_PAGE_SECONDS:
            return [*new, {"t": t, "kind": "notice", "text": LATE_PAGE}]
        known = {(worker, lives[-1][0]) for worker, lives in self.lives.items() if lives}
        told = {worker.index for worker in status.workers if (worker.index, worker.incarnation) in known}
        return [moment for moment in new if moment["kind"] != "joined" or moment["worker"] not in told]

    def _tell_workers(self, status: Status, t: float) -> float | None:
        """Returns the mean staleness of what was pushed since."""
        pushes = total = 0.0
        for worker in status.workers:
            self.lanes.tell(worker.index, worker.incarnation, worker.phases, t)
        for worker in _newest(status.workers):
            count = self.rates.new_pushes.get(worker.index, 0)
            mean = self.heat.tell(worker.index, worker.pushes, worker.staleness_total, t)
            if mean is not None:
                pushes, total = pushes + count, total + mean * count
        return total / pushes if pushes else None

    def _row(self, status: Status, t: float, staleness: float | None) -> Told:
        row: Told = {
            "t": t, "seconds": status.seconds, "updates": status.updates, "samples": status.samples,
            "bytes": status.bytes_sent + status.bytes_received, "loss": _finite(status.loss),
            "rate": status.samples_per_second, "staleness": staleness,
            "workers": sum(worker.alive for worker in status.workers),
        }  # fmt: skip
        row |= {f"scalar.{name}": _finite(value) for name, value in status.scalars.items()}
        if status.loss is not None:
            self._losses = [*self._losses[-120:], (t, status.loss)]
        return {name: _short(value) for name, value in row.items()}

    def _new_evaluation(self, status: Status, row: Told) -> list[Told]:
        key = status.metrics_at_updates, {name: _finite(value) for name, value in status.metrics.items()}
        if not status.metrics or key == self._evaluated:
            return []
        self._evaluated = key
        part = min(1.0, status.metrics_at_updates / status.updates) if status.updates else 1.0
        point = {
            "t": row["t"], "updates": status.metrics_at_updates, "samples": round(status.samples * part),
            "bytes": _short((row["bytes"] or 0) * part), "metrics": key[1],
        }  # fmt: skip
        self.evaluations.append(point)
        if len(self.evaluations) > EVALUATIONS_MOST:
            self.evaluations = self.evaluations[::2]
        return [point]

    def _note_lives(self, status: Status, t: float) -> set[int]:
        """[incarnation, from, to or None, state] of each life of each worker; returns whose have changed."""
        offset = t - status.seconds
        turned: set[int] = set()
        for worker in status.workers:
            lives = self.lives.setdefault(worker.index, [])
            ended = None if worker.ended is None else _short(min(t, worker.ended + offset))
            if lives and lives[-1][0] == worker.incarnation:
                if lives[-1][3] != worker.state:
                    turned.add(worker.index)
                    lives[-1][2:] = [ended, worker.state]
            elif not lives or lives[-1][0] < worker.incarnation:
                joined = min(t, max(self.t if self.status else 0.0, worker.joined + offset))
                lives.append([worker.incarnation, _short(joined), ended, worker.state])
                del lives[:-8]
                turned.add(worker.index)
        return turned

    def _worker(self, worker: WorkerView) -> list[Any]:
        """One row of the table; `WORKER_FIELDS` names them."""
        return [
            worker.index, worker.state, len(self.lives.get(worker.index, ())), worker.samples,
            _short(self.rates.of_worker(worker.index)), _short(_finite(worker.loss)), worker.refused, worker.node,
            worker.samples_held, _short(worker.idle_seconds), worker.waits, worker.lane,
            _short(worker.staleness_total / worker.pushes if worker.pushes else None),
        ]  # fmt: skip

    # -- what it says ------------------------------------------------------------------------------

    def _say(self, t: float) -> Told:
        if self.status is None:
            waits = self._waits_until - (self._waits_since or 0.0)
            silent = f", shard 0 has not answered for {waits:.0f} s" if waits > SILENT_SECONDS else ""
            line = f"Nothing is known of the job yet: its servers are starting{silent}."
            return {"line": line, "findings": [asdict(finding) for finding in unreadable(self.unread)]}
        seen = Seen(
            losses=self._losses,
            shares=self._shares(),
            busy=self.rates.busy,
            bound=self.about.bound,
            waits=self._waits.lately(),
            heard_ago=0.0 if self.over else t - self._heard,
            unread=self.unread,
        )
        return {
            "line": headline(self.status, seen),
            "findings": [asdict(finding) for finding in findings(self.status, seen)],
            "shares": [_short(share) for share in seen.shares],
        }

    def _shares(self) -> list[float]:
        until = self.lanes.settled
        rows = (lane.by_second.part(until - LATELY_SECONDS, until) for lane in self.lanes.lanes.values())
        return shares(letter for row in rows for letter in row)

    def snapshot(self) -> Told:
        """All of it, for a page that opens now or a file."""
        return {
            "version": VERSION,
            "about": asdict(self.about),
            "t": _short(self.t),
            "over": self.over,
            "columns": self.columns.told(),
            "evaluations": self.evaluations,
            "moments": self.moments,
            "now": _now(self.status) if self.status else None,
            "say": self._say(self.t),
            "workerFields": WORKER_FIELDS,
            "workers": self._rows,
            "lives": {str(worker): lives for worker, lives in sorted(self.lives.items())},
            "lanes": self.lanes.told(),
            "heat": self.heat.told(),
            "rates": self.rates.told(),
            "waits": self._waits.lately(),
        }


WORKER_FIELDS = [
    "index", "state", "starts", "samples", "rate", "loss", "refused", "node", "held", "idle", "waits", "lane",
    "staleness",
]  # fmt: skip


def _newest(workers: list[WorkerView]) -> list[WorkerView]:
    """The newest life of each worker, by index."""
    found: dict[int, WorkerView] = {}
    for worker in workers:
        if worker.index not in found or worker.incarnation >= found[worker.index].incarnation:
            found[worker.index] = worker
    return [found[index] for index in sorted(found)]


def _now(status: Status) -> Told:
    """The status without what has its own place."""
    told: Told = msgspec.to_builtins(msgspec.structs.replace(status, workers=[]), str_keys=True)
    del told["workers"]
    return told


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _short(value: Any) -> Any:
    """A number in six digits; whole ones as they are."""
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
