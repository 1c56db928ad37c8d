"""`asgd.client.submit`: the arguments of `asgd.run`, sent to a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asgd.client.access import connect_to
from asgd.client.coding import code_of
from asgd.client.commands.sending import kept_on, recorded_on
from asgd.client.packing import Packed, Values, of_code, of_document, pack
from asgd.client.run import Run
from asgd.client.submitting import namespace_for, send
from asgd.interactive.fields import document_of, filled_in, values_of
from asgd.spec.load import put


def submit(
    task_or_job: Any,
    *,
    namespace: str = "",
    context: str = "",
    kubeconfig: str = "",
    name: str | None = None,
    checkpoints: str = "",
    record: str = "",
    set: Mapping[str, Any] | None = None,
    wait: bool = False,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Sends a job to a cluster and returns its Run.

    task_or_job  a function that returns an `asgd.Task` (or the Task itself); the path of a job's YAML, of a Python file
                 or of a folder; or a mapping: a job or its spec
    namespace    and context, kubeconfig: as kubectl takes them; inside a pod, that of the pod
    checkpoints  a PersistentVolumeClaim or a URI, so that checkpoints and the model outlive the pods
    record       a PersistentVolumeClaim for what `kubectl asgd replay` reads; needs `checkpoints`
    wait         shows the run and returns at its end
    name, set    and fields: as for `asgd.run`

    Raises UserError for a wrong name or value, ApiError where the cluster refuses, RunFailed with `wait` when it fails.
    """
    values = values_of(fields, set)
    packed = packed_of(task_or_job, name or "", [*kept_on(checkpoints), *recorded_on(record)], values)
    access = connect_to(namespace=namespace, context=context, kubeconfig=kubeconfig)
    place = access.within(namespace_for(packed.document, namespace, access.namespace))
    made = send(place, packed)
    run = Run(place, made["metadata"]["name"], quiet=quiet)
    return run.wait() if wait else run


def packed_of(task_or_job: Any, name: str, sets: list[str], values: Values) -> Packed:
    """What is to be sent. Raises UserError."""
    if isinstance(task_or_job, (str, os.PathLike)):
        return pack(Path(task_or_job), sets, values, name=name)
    if isinstance(task_or_job, Mapping):
        document = document_of(task_or_job)
        put(document, [*sets, *([f"metadata.name={name}"] if name else [])], values)
        named = bool(name) or "name" in (task_or_job.get("metadata") or {})
        return of_document(document, named=named)
    code = code_of(task_or_job)
    values = filled_in(list(values), getattr(task_or_job, "fields", {}))
    return of_code(code.files, code.entrypoint, sets, values, name)
