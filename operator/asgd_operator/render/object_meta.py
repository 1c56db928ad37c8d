"""ObjectMeta of every child: owner reference, labels that selectors and people use, annotations that `plan`
compares.

No `blockOwnerDeletion`: it would need rights on the finalizers of AsgdJobs, and background deletion works
without it.
"""

from __future__ import annotations

from asgd_operator import constants as c
from asgd_operator.render.model import Manifest, Owner, Scope


def selector(job: str, role: c.Role | None = None) -> dict[str, str]:
    """Labels that select a job's pods, of one role or of all."""
    labels = {c.JOB_LABEL: job}
    return labels | {c.ROLE_LABEL: role.value} if role else labels


def labels(job: str, role: c.Role | None = None) -> dict[str, str]:
    """All labels of a child or a pod; a superset of `selector`."""
    component = {"app.kubernetes.io/component": role.value} if role else {}
    return {
        "app.kubernetes.io/name": "asgd-job",
        "app.kubernetes.io/instance": job,
        "app.kubernetes.io/part-of": "asgd",
        "app.kubernetes.io/managed-by": c.MANAGER,
        **component,
        **selector(job, role),
    }


def metadata(
    scope: Scope, name: str, role: c.Role | None = None, extra_labels: dict[str, str] | None = None
) -> Manifest:
    """`metadata` of the child `name`; the hash of the whole object is added when all of it is known."""
    return {
        "name": name,
        "namespace": scope.owner.namespace,
        "labels": {**labels(scope.owner.name, role), **(extra_labels or {})},
        "annotations": {c.SPEC_HASH: scope.spec_hash},
        "ownerReferences": [_reference(scope.owner)],
    }


def queue_labels(scope: Scope) -> dict[str, str]:
    """Hands a workload to Kueue when the job names a queue."""
    queue = scope.spec.scheduling.queue_name
    return {c.QUEUE_LABEL: queue} if queue else {}


def _reference(owner: Owner) -> Manifest:
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
    }
