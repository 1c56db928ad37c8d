"""A job of a newer CRD as far as this version knows it: fields that it has never heard of are left out and named.

For a job that runs already and must not be dropped because the operator was set back to an older version. Nothing that
is to start is read like this: what is left out may have been what mattered.
"""

from __future__ import annotations

from typing import Any

import msgspec

from asgd.spec.load import job_from_json
from asgd.spec.problems import Path, dotted
from asgd.spec.schema import Schema, field_of, structural
from asgd.spec.types import Job


def known_part(document: dict[str, Any]) -> tuple[Job, list[str]]:
    """The job and the dotted paths of what is left out of its spec; its `document` stays whole.

    Raises UserError where it cannot be read even so.
    """
    spec_schema = field_of(structural(), "spec")
    left_out: list[str] = []
    spec = _known(document.get("spec"), spec_schema, ("spec",), left_out)
    job = job_from_json(msgspec.json.encode({**document, "spec": spec}))
    return msgspec.structs.replace(job, document=document), left_out


def _known(value: Any, schema: Schema | None, path: Path, left_out: list[str]) -> Any:
    if not schema:
        return value
    if isinstance(value, list):
        return [_known(item, schema.get("items"), (*path, at), left_out) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    found = {}
    closed = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    for key, item in value.items():
        inner = field_of(schema, key)
        if inner is None and closed:
            left_out.append(dotted((*path, key)))
        else:
            found[key] = _known(item, inner, (*path, key), left_out)
    return found
