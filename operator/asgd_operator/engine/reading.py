"""Reads the spec of a job. What the API server took and this operator cannot read is of a newer CRD.

Such a job is refused before it starts. One that runs goes on: by what of it is known, or, where even that cannot be
read, untouched. Either way its user is told to upgrade the operator.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from asgd.errors import UserError
from asgd.spec import Job, bounds, job_from_json
from asgd_operator import __version__
from asgd_operator.engine.views import JobSeen
from asgd_operator.plan.model import Problem

OLDER = f"This operator, version {__version__}, is older than the CRD"


@dataclass(frozen=True)
class Reading:
    """`job` is None where nothing can be planned. `problem`: why it must not start. `unread`: told to a running one."""

    job: Job | None
    problem: Problem | None = None
    unread: str = ""


def read(seen: JobSeen, *, started: bool) -> Reading:
    """The job as this version understands it."""
    try:
        return Reading(job_from_json(msgspec.json.encode(seen.document)))
    except UserError as error:
        if bounds.beyond(seen.document):
            return Reading(None, Problem("InvalidSpec", str(error)))
        return _newer(seen, str(error), started=started)


def _newer(seen: JobSeen, error: str, *, started: bool) -> Reading:
    from asgd.spec.newer import known_part  # the CRD's schema, which nobody needs otherwise

    try:
        job, left_out = known_part(seen.document)
    except UserError as still:
        job, left_out, error = None, [], str(still)
    if job is not None:
        why = f"{OLDER} and does not know {', '.join(left_out[:5])}"
        goes_on = "The running job goes on without it; upgrade the operator."
    else:
        why = f"{OLDER} or newer, and cannot read the job: {error.rstrip('.')}"
        goes_on = "The running job goes on, and nobody looks after it; give operator and CRD one version."
    if started:
        return Reading(job, None if job else Problem("InvalidSpec", why), f"{why}. {goes_on}")
    return Reading(None, Problem("InvalidSpec", f"{why}; give operator and CRD one version."))
