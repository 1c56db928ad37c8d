"""The evaluator: a Job of one pod that measures the current weights until the servers say stop, then exits 0.

A Job, not a Deployment, because it ends. It runs the user's code on the user's data, so it takes the workers'
image, resources and `podTemplate`, but none of their GPUs: its devices are its own. It may fail for good without
stopping the training. A job for which the spec says that there is nothing to do has none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from asgd.errors import UserError
from asgd.spec.devices import is_gpu
from asgd.spec.evaluators import may_evaluate, needs_pod
from asgd.spec.types import Devices
from asgd_operator import constants as c
from asgd_operator.constants import Role
from asgd_operator.render import env, names, object_meta, pod, server, worker
from asgd_operator.render.model import Manifest, Scope

BACKOFF_LIMIT = 20
"""Restarts before the job goes on without measurements; evictions cost none of them."""


def evaluator(scope: Scope, suspended: bool) -> Manifest | None:
    """The evaluator's Job, or None where it would have nothing to do."""
    if not needs_pod(scope.spec):
        return None
    metadata = object_meta.metadata(
        scope, names.child(scope.owner.name, Role.EVALUATOR), Role.EVALUATOR, object_meta.queue_labels(scope)
    )
    metadata["annotations"][c.SPEC_HASH] = spec_hash(scope)
    spec = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": BACKOFF_LIMIT,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": worker.failure_policy(scope),
        **worker.suspension(scope, suspended),
        "template": pod.template(scope, _plan(scope)),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def spec_hash(scope: Scope) -> str:
    """Evaluation is live, but a Job's template is not: other devices make another Job, and restart nothing
    else."""
    return names.digest([scope.spec_hash, msgspec.to_builtins(scope.spec.evaluation.devices)])


def without_gpus(resources: Any) -> Any:
    """A container's `resources` without the GPUs that they ask for.

    NB: whoever asks for a worker's GPU by them does not mean one more, and nothing would compute on it.
    """
    if not isinstance(resources, dict):
        return resources
    kept = {}
    for kind, amounts in resources.items():
        left = amounts
        if isinstance(amounts, dict):
            left = {name: amount for name, amount in amounts.items() if not is_gpu(str(name))}
        if left or not amounts:
            kept[kind] = left
    return kept


def _template(scope: Scope) -> Manifest:
    """The workers' `podTemplate`, whose main container asks for no GPU."""
    template = scope.spec.workers.pod_template
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if not isinstance(containers, list):
        return template
    return {**template, "spec": {**template["spec"], "containers": [_plain(item) for item in containers]}}


def _plain(container: Any) -> Any:
    main = isinstance(container, dict) and container.get("name") == c.CONTAINER
    if not main or "resources" not in container:
        return container
    return {**container, "resources": without_gpus(container["resources"])}


def _plan(scope: Scope) -> pod.PodPlan:
    return pod.PodPlan(
        role=Role.EVALUATOR,
        image=worker.image(scope),
        resources=without_gpus(scope.spec.workers.resources),
        grace_seconds=worker.grace_seconds(scope),
        restart_policy="Never",
        template=_template(scope),
        devices=scope.spec.evaluation.devices if may_evaluate(scope.spec) else Devices(),
        mounts=worker.mounts(scope) + _store(scope),
    )


def _store(scope: Scope) -> tuple[pod.Mount, ...]:
    """What the best model is written to. Raises UserError where servers have it each for itself."""
    if scope.spec.checkpoint.best is None:
        return ()
    directory, volume = env.checkpoint_dir(scope), scope.spec.checkpoint.volume
    if directory is None:
        return ()
    if volume is None or not volume.pvc:
        raise UserError(
            "spec.checkpoint.best: the evaluator writes the best model, and does not see the volume of a server's pod;"
            " allowed: an object store as spec.checkpoint.uri, or spec.checkpoint.volume.pvc"
        )
    return (server.checkpoint_mount(scope, directory),)
