"""Live fields: what may change while a job runs, and how it travels to the job's processes.

The operator splits the spec: the frozen part goes to all pods in a ConfigMap that never changes, the live part in one
that does. Each process begins with both; servers read the live part again when it changes. The CRD decides which
fields are live (it has a rule that freezes each of the others); a test holds `LIVE` against those rules.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import msgspec

from asgd.errors import UserError
from asgd.spec.types import Job, JobSpec

LIVE: tuple[tuple[str, ...], ...] = (
    ("workers", "replicas"),
    ("workers", "minReplicas"),
    ("workers", "maxReplicas"),
    ("workers", "autoscale"),
    ("workers", "progressDeadlineSeconds"),
    ("runPolicy",),
    ("stopAfter",),
    ("divergence",),
    ("evaluation", "everySeconds"),
    ("evaluation", "everyUpdates"),
    ("evaluation", "everyEpochs"),
    ("evaluation", "devices"),
    ("checkpoint", "everySeconds"),
    ("checkpoint", "everyUpdates"),
    ("checkpoint", "everyEpochs"),
    ("checkpoint", "keep"),
)
"""Paths below `spec`; a path to an object means all of it."""


def split(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The frozen and the live part of a defaulted spec (camelCase, as in YAML). Both keep the spec's own shape.

    The live part names all live fields: null is what nobody has given, so that taking a field away is an edit too.
    """
    frozen: dict[str, Any] = copy.deepcopy(dict(spec))
    live: dict[str, Any] = {}
    for *parents, leaf in LIVE:
        source, target = frozen, live
        for parent in parents:
            source = source.get(parent) or {}
            target = target.setdefault(parent, {})
        target[leaf] = source.pop(leaf, None)
        if parents and not source:
            # NB: what is wholly live leaves no trace, so that it never changes the hash of the frozen part.
            frozen.pop(parents[0], None)
    return frozen, live


def joined(frozen: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of which `split` has made two; without the live fields that nobody has given."""
    whole: dict[str, Any] = copy.deepcopy(dict(frozen))
    for *parents, leaf in LIVE:
        source, target = live, whole
        for parent in parents:
            source = source.get(parent) or {}
        if source.get(leaf) is None:
            continue
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = source[leaf]
    return whole


def with_live(job: Job, live: bytes) -> Job:
    """`job` with the live part that `split` made, as JSON, in place of its own. Raises UserError as `merge`."""
    spec = merge(job.spec, live)
    frozen, _ = split(job.document["spec"])
    document = {**job.document, "spec": joined(frozen, msgspec.json.decode(live, type=dict[str, Any]))}
    return msgspec.structs.replace(job, spec=spec, document=document)


def merge(spec: JobSpec, live: bytes) -> JobSpec:
    """`spec` with the live part that `split` made, as JSON, in place of its own live fields.

    A live field that is absent stays as it is, null is its default; other fields are not read. Raises UserError
    when the text is no JSON object or a value has the wrong type.
    """
    try:
        fresh = msgspec.json.decode(live, type=dict[str, Any])
        return msgspec.convert(_overlaid(msgspec.to_builtins(spec), fresh), JobSpec)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"live fields: {error}") from error


def _overlaid(document: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    for path in LIVE:
        *parents, leaf = path
        given, target = fresh, document
        for parent in parents:
            given, target = given.get(parent) or {}, target[parent]
            if not isinstance(given, dict):
                raise UserError(f"live fields: {parent} is no object")
        if leaf not in given:
            continue
        if given[leaf] is None:
            target.pop(leaf, None)
        else:
            target[leaf] = given[leaf]
    return document
