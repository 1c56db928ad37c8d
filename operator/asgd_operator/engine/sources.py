"""The files of the ConfigMap that `spec.sourceFrom` names, read once: for the copy from which the job's pods read.

The copy is the job's own ConfigMap of frozen fields, which never changes: a worker that starts later runs what its
peers run, whatever has become of the user's ConfigMap. So nothing is read while the copy is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgd.spec import Job
from asgd.spec.sources import missing_file
from asgd_operator.errors import Forbidden
from asgd_operator.kube import Kube
from asgd_operator.plan.model import Observed, Problem
from asgd_operator.render import config_name

FIELD = "spec.sourceFrom.configMap"


Files = dict[str, str]


async def files(kube: Kube, o: Observed, job: Job) -> tuple[Files, Problem | None]:
    """The ConfigMap's files, or what stands against them; none where there is a copy. Raises OperatorError."""
    if job.spec.source_from is None or o.child("ConfigMap", config_name(job)) is not None:
        return {}, None
    name = job.spec.source_from.config_map
    try:
        found = await kube.get("ConfigMap", o.namespace, name, "v1")
    except Forbidden as error:
        return {}, Problem("SourceNotFound", f"{FIELD}: {error}")
    if found is None:
        return {}, Problem("SourceNotFound", f"{FIELD}: there is no ConfigMap {name} in {o.namespace}.")
    held: Files = dict(found.get("data") or {})
    sentence = _amiss(job, name, held, found)
    return held, Problem("SourceNotFound", sentence) if sentence else None


def _amiss(job: Job, name: str, held: Files, found: Mapping[str, Any]) -> str:
    if binary := sorted(found.get("binaryData") or {}):
        return (
            f"{FIELD}: {binary[0]} of ConfigMap {name} is not UTF-8 text; put it into an image or a volume."
        )
    if missing := missing_file(job, held):
        holds = f"which holds {', '.join(sorted(held)[:8])}" if held else "which is empty"
        return (
            f"spec.entrypoint: there is no file {missing} in ConfigMap {name}, {holds}, nor in spec.source."
        )
    return ""
