"""Acceptance: would the API server take this job's children? Asked before any of them is made, of all at once.

The schema leaves `podTemplate` open, so only a dry run can judge it. Its answer becomes a condition with the
server's own sentence instead of an operator that retries for ever. Children that exist already are not asked
about again. A dry run also tells whether something of that name is there already, which then is read: one request for
each child of a new job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asgd.spec.types import JobSpec
from asgd_operator import constants as c
from asgd_operator.engine import queues
from asgd_operator.engine.together import all_of
from asgd_operator.engine.views import owner_uid
from asgd_operator.errors import Conflict, Forbidden, Invalid, NotFound, Transient
from asgd_operator.kube import Kube
from asgd_operator.plan.actions import Apply, Plan
from asgd_operator.plan.model import Observed, Problem, Wanted

FIELDS = {"server": "spec.parameterServer", "worker": "spec.workers", "evaluator": "spec.evaluation"}


async def problem(kube: Kube, o: Observed) -> Problem | None:
    """What stands against the job, or None. Raises OperatorError where the question could not be asked."""
    asked = [_of_child(kube, o, wanted, exists=exists) for wanted, exists in _unproved(o)]
    # NB: all are heard, and the first in their order decides, so that a job says the same each time.
    heard = await all_of(*asked, _no_storage(kube, o), queues.problem(kube, o))
    return next((found for found in heard if found), None)


async def taken(kube: Kube, o: Observed, planned: Plan) -> dict[tuple[str, str], str]:
    """{(kind, name): sentence} for each child that `planned` makes and whose name something else has.

    Raises OperatorError where that is a child of a former job, which goes by itself, or where the question could not be
    asked.
    """
    made = [item.child for item in planned.actions if isinstance(item, Apply) and not item.uid]
    sentences = await all_of(*(_taken(kube, o, wanted) for wanted in made))
    return {(wanted.kind, wanted.name): said for wanted, said in zip(made, sentences, strict=True) if said}


def accepted(o: Observed) -> bool:
    """Whether a former pass has accepted this very generation."""
    found = o.condition(c.Condition.ACCEPTED)
    return found.get("status") == "True" and found.get("observedGeneration") == o.generation


def _unproved(o: Observed) -> Iterator[tuple[Wanted, bool]]:
    """Children that are yet to be made, and whether one of that name is there to be replaced."""
    made = {"server": o.servers, "worker": o.workers, "evaluator": o.evaluator}
    for wanted in o.wanted:
        if wanted.stage == "support":
            exists = o.child(wanted.kind, wanted.name) is not None or (wanted.once and o.servers is not None)
            if not exists and wanted.kind != "Secret":
                yield wanted, False
        elif (child := made[wanted.stage]) is None or child.spec_hash != wanted.spec_hash:
            yield wanted, child is not None


async def _of_child(kube: Kube, o: Observed, wanted: Wanted, *, exists: bool) -> Problem | None:
    if exists:
        _, problem = await _refused(kube, wanted, _renamed(wanted.manifest))
        return problem
    there, problem = await _refused(kube, wanted, wanted.manifest)
    sentence = await _taken(kube, o, wanted) if there else ""
    # What is wrong with an object that is not ours is not the job's fault.
    return Problem("NameTaken", sentence) if sentence else problem


async def _taken(kube: Kube, o: Observed, wanted: Wanted) -> str:
    """A sentence where an object that is not this job's has the name; empty where none has."""
    live = await kube.get(wanted.kind, o.namespace, wanted.name, str(wanted.manifest["apiVersion"]))
    if live is None or owner_uid(live) == o.uid:
        return ""
    if owner_uid(live):
        raise Transient(f"{wanted.kind} {wanted.name} of a former job of this name is still being removed")
    return (
        f"{wanted.kind} {wanted.name} exists already and is not this job's, so it is left alone and the job lacks its "
        f"own; delete or rename that {wanted.kind}, or rename the job."
    )


async def _refused(kube: Kube, wanted: Wanted, manifest: Mapping[str, Any]) -> tuple[bool, Problem | None]:
    """Whether there may be an object of that name already, and why the API server refuses `manifest`."""
    where = FIELDS.get(wanted.stage, "spec")
    try:
        answer = await kube.apply(manifest, dry_run=True)
    except (Invalid, Conflict) as error:
        reason = "InvalidPodTemplate" if wanted.stage in FIELDS else "InvalidSpec"
        says = f"{where}: the API server refuses the {wanted.kind} made from it: {error}"
        return True, Problem(reason, says)
    except Forbidden as error:
        if "exceeded quota" in str(error):
            return False, Problem("QuotaExceeded", f"{where}: {error}")
        raise
    except NotFound as error:
        if 'namespaces "' in str(error):
            raise  # the whole namespace is going
        says = f"{where}: the cluster knows no kind {wanted.kind}; install what defines it."
        return False, Problem("InvalidSpec", says)
    # What is not there yet has no version, for a dry run stores nothing.
    return bool(answer["metadata"].get("resourceVersion")), None


async def _no_storage(kube: Kube, o: Observed) -> Problem | None:
    for field, claim in _claims(o.spec) if o.spec else ():
        try:
            if await kube.get("PersistentVolumeClaim", o.namespace, claim):
                continue
        except Forbidden:
            return None  # an installation without this right: the pods will say it
        sentence = f"spec.{field}: there is no PersistentVolumeClaim {claim} in {o.namespace}."
        return Problem("StorageNotFound", sentence)
    return None


def _claims(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Every field that names a claim, and the claim."""
    volume, memory = spec.checkpoint.volume, spec.exchange.shared_memory
    if volume is not None and volume.pvc:
        yield "checkpoint.volume.pvc", volume.pvc
    if memory is not None:
        yield "exchange.sharedMemory.pvc", memory.pvc
    if spec.record is not None:
        yield "record.pvc", spec.record.pvc


def _renamed(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Under its own name a template that differs would be refused for that alone."""
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "name": f"{metadata['name']}-check"}}
