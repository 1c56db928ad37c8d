"""Acceptance: would the API server take this job's children? Asked before any of them is made.

The schema leaves `podTemplate` open, so only a dry run can judge it. Its answer becomes a condition with the
server's own sentence instead of an operator that retries for ever. Children that exist already are not asked
about again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asgd.spec.types import JobSpec
from asgd_operator import constants as c
from asgd_operator.engine.views import owner_uid
from asgd_operator.errors import Conflict, Forbidden, Invalid, NotFound, Transient
from asgd_operator.kube import Kube
from asgd_operator.plan.actions import Apply, Plan
from asgd_operator.plan.model import Observed, Problem, Wanted

FIELDS = {"server": "spec.parameterServer", "worker": "spec.workers", "evaluator": "spec.evaluation"}


async def problem(kube: Kube, o: Observed) -> Problem | None:
    """What stands against the job, or None. Raises OperatorError where the question could not be asked."""
    for wanted, exists in _unproved(o):
        found = await _refused(kube, o, wanted, exists=exists)
        if found is not None:
            return found
    return await _no_storage(kube, o)


async def taken(kube: Kube, o: Observed, planned: Plan) -> dict[tuple[str, str], str]:
    """{(kind, name): sentence} for each child that `planned` makes and whose name something else has.

    Raises OperatorError where that is a child of a former job, which goes by itself, or where the question could not be
    asked.
    """
    found = {}
    for action in planned.actions:
        if isinstance(action, Apply) and not action.uid:
            wanted = action.child
            if sentence := await _taken(kube, o, wanted):
                found[wanted.kind, wanted.name] = sentence
    return found


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


async def _refused(kube: Kube, o: Observed, wanted: Wanted, *, exists: bool) -> Problem | None:
    where = FIELDS.get(wanted.stage, "spec")
    try:
        answer = await kube.apply(_renamed(wanted.manifest) if exists else wanted.manifest, dry_run=True)
        # NB: only what exists has a version; the answer to a dry run that would make it has none.
        if not exists and answer["metadata"].get("resourceVersion"):
            sentence = await _taken(kube, o, wanted)
            return Problem("NameTaken", sentence) if sentence else None
    except (Invalid, Conflict) as error:
        # What is wrong with an object that is not ours is not the job's fault.
        if not exists and (sentence := await _taken(kube, o, wanted)):
            return Problem("NameTaken", sentence)
        reason = "InvalidPodTemplate" if wanted.stage in FIELDS else "InvalidSpec"
        return Problem(reason, f"{where}: the API server refuses the {wanted.kind} made from it: {error}")
    except Forbidden as error:
        if "exceeded quota" in str(error):
            return Problem("QuotaExceeded", f"{where}: {error}")
        raise
    except NotFound as error:
        if 'namespaces "' in str(error):
            raise  # the whole namespace is going
        return Problem(
            "InvalidSpec", f"{where}: the cluster knows no kind {wanted.kind}; install what defines it."
        )
    return None


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


def _renamed(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Under its own name a template that differs would be refused for that alone."""
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "name": f"{metadata['name']}-check"}}
