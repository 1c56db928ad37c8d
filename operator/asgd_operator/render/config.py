"""The two ConfigMaps of a job: the frozen spec, immutable, with its hash in the name; and the live fields,
mutable.

A pod that restarts must read exactly what its peers read, hence the immutable one. All pods read the live one when they
start, and servers again and again, so the target, the deadlines and the checkpoint interval change without restarting
anything.
Which fields are live is written once, in `asgd.spec.live`.
"""

from __future__ import annotations

import json
from typing import Any

from asgd.errors import UserError
from asgd.spec.bounds import too_large_for_pods
from asgd.spec.live import split
from asgd.spec.types import Job
from asgd_operator import constants as c
from asgd_operator.render import names
from asgd_operator.render.model import Manifest, Scope
from asgd_operator.render.object_meta import metadata


def spec_hash(job: Job) -> str:
    """Hash of the fields that are frozen while the job runs; live edits leave it as it is, and so do files of
    `sourceFrom`.
    """
    return names.digest(split(job.document["spec"])[0])


def config(scope: Scope) -> Manifest:
    """The ConfigMap that every container reads as its job file. Raises UserError where the job is too large."""
    frozen, _ = split(scope.job.document["spec"])
    frozen["source"] = {**scope.files, **frozen.get("source", {})}
    document = {
        "apiVersion": scope.owner.api_version,
        "kind": scope.owner.kind,
        "metadata": {"name": scope.owner.name, "namespace": scope.owner.namespace},
        "spec": frozen,
    }
    if found := too_large_for_pods(document):
        raise UserError(f"spec: {found}")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(scope, names.config(scope.owner.name, scope.spec_hash)),
        "immutable": True,
        "data": {c.JOB_FILE: _json(document)},
    }


def live(scope: Scope) -> Manifest:
    """The ConfigMap of the live fields, mounted as a directory so that edits reach running servers."""
    _, fields = split(scope.job.document["spec"])
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(scope, names.live(scope.owner.name)),
        "data": {c.LIVE_FILE: _json(fields)},
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"
