"""One pass over one job: observe, plan, carry out, say. Level-based: it never asks which event brought it
here.

Every write is safe to repeat, and a pass that finds all as it should be makes none. When the API server refuses a
write the status is written all the same, and the queue tries again later. A pass that ends by surprise, or fails again
and again, leaves a condition on the job: its user cannot read the operator's log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from asgd.errors import UserError
from asgd.spec import Job
from asgd_operator import curve
from asgd_operator.constants import MANAGED_BY, EventReason
from asgd_operator.engine import accept, queues, sources, views
from asgd_operator.engine.observe import Indices, observe, with_newer_status
from asgd_operator.engine.reading import read
from asgd_operator.engine.reports import Reports
from asgd_operator.engine.surprises import describe
from asgd_operator.engine.unreadable import UnreadableObject
from asgd_operator.engine.views import JobSeen
from asgd_operator.engine.wanted import wanted
from asgd_operator.engine.writer import Writer
from asgd_operator.errors import Forbidden, Invalid, OperatorError
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan import autoscale, failing, plan, queueing, trouble
from asgd_operator.plan.actions import Event, Plan
from asgd_operator.plan.keys import unheld
from asgd_operator.plan.model import Held, Observed, Problem
from asgd_operator.render import Owner, Settings, children

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.2
"""After a pass that failed before: the status still says so."""


@dataclass
class Reconciler:
    """`__call__` is the queue's work on a key `namespace/name`, `failed` what it calls when that failed."""

    writer: Writer
    indices: Indices
    settings: Settings
    reports: Reports
    metrics: OperatorMetrics
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _uids: dict[str, str] = field(default_factory=dict)
    _failing: dict[str, Problem] = field(default_factory=dict)
    """By UID: what the job was told that the operator fails with; until a pass succeeds."""

    async def __call__(self, key: str) -> float | None:
        """Seconds until the next look, or None. Raises OperatorError to be tried again."""
        seen = self._job(key)
        if seen is None:
            return None
        planned = await self._pass(seen)
        if self._failing.pop(seen.uid, None) is not None:
            return AGAIN_SECONDS
        return planned.requeue_after

    def is_news(self, uid: str, version: str) -> bool:
        """Whether a job's change to this version is worth a look."""
        return not self.writer.is_echo(uid, version)

    async def failed(self, key: str, error: Exception, count: int) -> None:
        """Tells the user of a pass that failed, `count` times in a row by now. Raises OperatorError."""
        expected = isinstance(error, OperatorError)
        problem = failing.problem(str(error) if expected else describe(error), count, bug=not expected)
        if problem is None:
            return
        try:
            seen = self._job(key)
        except UnreadableObject as unreadable:
            namespace, _, name = key.partition("/")
            await self.writer.tell(namespace, name, unreadable.found.uid, 0, failing.event(problem))
            return
        if seen is None or seen.deleting or not failing.is_news(problem, self._failing.get(seen.uid)):
            return
        seen = with_newer_status(seen, self.writer.written(seen.uid))
        o = replace(_bare(seen, self.now()), failing=problem)
        await self.writer.say(o, failing.notice(o, problem))
        self._failing[seen.uid] = problem

    def _job(self, key: str) -> JobSeen | None:
        """The job, if it is there and ours. Raises UnreadableObject."""
        seen = self.indices.job(key)
        ours = seen is not None and seen.spec.get("managedBy", MANAGED_BY) == MANAGED_BY
        if seen is None or not ours or self._uids.get(key, seen.uid) != seen.uid:
            self._forget(key)
        if seen is None or not ours:
            return None
        self._uids[key] = seen.uid
        return seen

    async def _pass(self, seen: JobSeen) -> Plan:
        found = await self._observe(with_newer_status(seen, self.writer.written(seen.uid)))
        found, planned = await self._planned(found)
        try:
            await self.writer.carry_out(found, planned.actions)
        except OperatorError as error:
            if isinstance(error, Invalid | Forbidden):
                # No retry mends these by itself, so the user is told; a broken connection is nobody's business.
                failed = Event(EventReason.APPLY_FAILED, str(error), warning=True)
                planned = replace(planned, events=(*planned.events, failed))
            await self.writer.say(found, planned)
            raise
        # NB: not after a cancellation: whoever ends the queue may have lost the right to write.
        await self.writer.say(found, planned)
        return planned

    async def _planned(self, found: Observed) -> tuple[Observed, Plan]:
        """NB: a child that is to be made is looked for first: an apply would take over what has its name."""
        planned = plan(found)
        taken = {} if found.proved else await accept.taken(self.writer.kube, found, planned)
        if not taken:
            return found, planned
        found = replace(found, taken=taken)
        return found, plan(found)

    async def _observe(self, seen: JobSeen) -> Observed:
        found = observe(self.indices, seen, self.now())
        reading = read(seen, started=found.started)
        job = autoscale.applied(reading.job, seen.status) if reading.job else None
        found = replace(
            found,
            start_workers=reading.job.spec.workers.replicas if reading.job else 0,
            failing=self._failing.get(seen.uid),
            healed=self.writer.healing.of(seen.uid),
            spec=job.spec if job else None,
            unread=reading.unread,
        )
        if job is None or found.deleting or found.finished:
            self.reports.forget(seen.uid)
            return replace(found, problem=reading.problem if not found.finished else None)
        files, problem = await sources.files(self.writer.kube, found, job)
        if problem is None:
            found, problem = self._rendered(found, job, files)
        if problem is None and not accept.accepted(found):
            problem = await accept.problem(self.writer.kube, found)
            found = replace(found, proved=True)
        return await self._explained(self._asked(replace(found, problem=problem)))

    async def _explained(self, found: Observed) -> Observed:
        """With what others have complained of, where something does not come about for no reason that is seen."""
        said = {}
        if trouble.short(found) and await self._namespace_ends(found):
            return replace(found, namespace_ends=True)
        for uid, name in trouble.puzzling(found):
            try:
                said[uid] = views.complaint(await self.writer.kube.warnings(found.namespace, uid))
            except OperatorError as error:
                log.debug("no events about %s: %s", name, error)
        found = replace(found, complaints={uid: words for uid, words in said.items() if words})
        return replace(found, queue_says=await self._queue_says(found))

    async def _queue_says(self, found: Observed) -> dict[str, Held]:
        said = {}
        for uid, name in queueing.puzzling(found):
            try:
                said[uid] = await queues.says(self.writer.kube, found, uid, name)
            except OperatorError as error:
                log.debug("Kueue was not asked about %s: %s", name, error)
        return said

    async def _namespace_ends(self, found: Observed) -> bool:
        metadata = {
            "name": found.name, "namespace": found.namespace,
            "uid": found.uid, "generation": found.generation,
        }  # fmt: skip
        try:
            return await self.writer.kube.namespace_ends(metadata)
        except OperatorError as error:
            log.debug("namespace %s was not asked about: %s", found.namespace, error)
            return False

    def _asked(self, found: Observed) -> Observed:
        # NB: also on the way to a suspension, for what shard 0 says last is where the job goes on.
        if found.servers is None or found.servers.replicas == 0:
            self.reports.forget(found.uid)
            return found
        known = self.reports.of(found)
        return replace(
            found, report=known.report, awaits_report=known.awaited, report_changes=known.changes_in,
            report_settled=known.settled, report_age=known.age,
        )  # fmt: skip

    def _rendered(self, found: Observed, job: Job, files: sources.Files) -> tuple[Observed, Problem | None]:
        keys = curve.generate() if unheld(found) else None
        owner = Owner(found.uid, found.name, found.namespace)
        try:
            return replace(found, wanted=wanted(children(job, owner, self.settings, keys, files))), None
        except UserError as error:
            return found, Problem("InvalidSpec", str(error))

    def _forget(self, key: str) -> None:
        uid = self._uids.pop(key, "")
        self._failing.pop(uid, None)
        self.writer.forget(uid)
        self.reports.forget(uid)
        self.metrics.forget_job(*key.split("/", 1))


def _bare(seen: JobSeen, now: datetime) -> Observed:
    """The job without its children, which may be what cannot be read."""
    return Observed(
        name=seen.name,
        namespace=seen.namespace,
        uid=seen.uid,
        generation=seen.generation,
        spec=None,
        now=now,
        status=seen.status,
    )
