"""The optional PodGroup: `workers.minReplicas` workers are scheduled together or not at all.

Only workers are members. The servers are up before the workers are made, so that no GPU waits for a server; a
group that counted both would wait for pods that wait for it. Asynchronous workers need no full gang, hence
the minimum, which is live: who renders the group applies it again when the job was edited.
"""

from __future__ import annotations

from asgd_operator.constants import Role
from asgd_operator.render import names, object_meta
from asgd_operator.render.merge import merge
from asgd_operator.render.model import Manifest, Scope

COSCHEDULING_LABEL = "scheduling.x-k8s.io/pod-group"
VOLCANO = "volcano"
VOLCANO_ANNOTATION = "scheduling.k8s.io/group-name"


def scheduler(scope: Scope) -> str:
    """Of all pods; empty for the cluster's own. Volcano's has one name, that of coscheduling depends on its chart."""
    wanted = scope.spec.scheduling
    volcano = wanted.gang is not None and wanted.gang.provider == VOLCANO
    return wanted.scheduler_name or (VOLCANO if volcano else "")


def gang(scope: Scope) -> Manifest | None:
    """The PodGroup of the provider that the job names, or None when it asks for no gang."""
    wanted = scope.spec.scheduling.gang
    if wanted is None:
        return None
    name = names.child(scope.owner.name, Role.WORKER)
    group: Manifest = {
        "kind": "PodGroup",
        "metadata": object_meta.metadata(scope, name, Role.WORKER),
        "spec": {"minMember": scope.spec.workers.min_replicas},
    }
    if wanted.provider == VOLCANO:
        return {"apiVersion": "scheduling.volcano.sh/v1beta1", **group}
    group["spec"]["scheduleTimeoutSeconds"] = wanted.timeout_seconds
    return {"apiVersion": "scheduling.x-k8s.io/v1alpha1", **group}


def member(scope: Scope, template: Manifest) -> Manifest:
    """The user's template with what makes its pods members of the group; unchanged without a gang."""
    wanted = scope.spec.scheduling.gang
    if wanted is None:
        return template
    name = names.child(scope.owner.name, Role.WORKER)
    mark = {"annotations": {VOLCANO_ANNOTATION: name}}
    if wanted.provider == "coscheduling":
        mark = {"labels": {COSCHEDULING_LABEL: name}}
    merged: Manifest = merge(template, {"metadata": mark})
    return merged
