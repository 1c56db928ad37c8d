"""The PodDisruptionBudget of a job: a drain takes its parameter servers one at a time.

Servers only: losing a worker costs nothing, and the eviction API knows no `maxUnavailable` for the pods of a
Job.
"""

from __future__ import annotations

from asgd_operator.constants import Role
from asgd_operator.render import names, object_meta
from asgd_operator.render.model import Manifest, Scope


def disruption(scope: Scope) -> Manifest:
    """The budget; `unhealthyPodEvictionPolicy` lets a drain pass servers that do not run anyway."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": object_meta.metadata(scope, names.child(scope.owner.name, Role.SERVER), Role.SERVER),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": object_meta.selector(scope.owner.name, Role.SERVER)},
        },
    }
