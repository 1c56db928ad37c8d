"""`kubectl asgd list`: one line a job, and the ways of `-o` that all commands share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from asgd.client.documents import Document, name_of, namespace_of, part
from asgd.client.show.ages import since
from asgd.client.show.table import table
from asgd.report import units
from asgd.spec import dump
from asgd.spec.autoscaling import wanted

FORMATS = ("wide", "json", "yaml", "name")
_HEAD = ("NAME", "PHASE", "REASON", "WORKERS", "PROGRESS", "UPDATES", "SAMPLES/S", "LOSS", "AGE")
_WIDE = ("STALENESS-P99", "METRICS", "CHECKPOINT", "ALGORITHM", "MESSAGE")


def listing(
    jobs: Sequence[Document],
    now: datetime,
    *,
    wide: bool = False,
    namespaces: bool = False,
    head: bool = True,
) -> str:
    """The table of jobs, by namespace and name."""
    ordered = sorted(jobs, key=lambda job: (namespace_of(job), name_of(job)))
    names = (*(("NAMESPACE",) if namespaces else ()), *_HEAD, *(_WIDE if wide else ()))
    rows = []
    for job in ordered:
        row = [
            *([namespace_of(job)] if namespaces else []),
            *_row(job, now),
            *(_more(job, now) if wide else ()),
        ]
        rows.append(row)
    return table(names if head else ("",) * len(names), rows)


def _row(job: Document, now: datetime) -> list[object]:
    status = job.get("status") or {}
    training = status.get("training") or {}
    percent, rate = training.get("progressPercent"), training.get("samplesPerSecond")
    return [
        name_of(job),
        status.get("phase"),
        status.get("reason"),
        f"{part(status, 'workers', 'ready') or 0}/{wanted(job)}",
        None if percent is None else f"{percent}%",
        training.get("updates"),
        None if rate is None else units.rate(rate),
        None if training.get("loss") is None else units.number(training["loss"]),
        since(part(job, "metadata", "creationTimestamp"), now),
    ]


def _more(job: Document, now: datetime) -> list[object]:
    status = job.get("status") or {}
    training = status.get("training") or {}
    metrics = ",".join(
        f"{name}={units.number(value)}" for name, value in (training.get("metrics") or {}).items()
    )
    return [
        training.get("stalenessP99"),
        metrics,
        since(part(status, "checkpoint", "lastTime"), now),
        part(job, "spec", "algorithm", "name"),
        status.get("message"),
    ]


def as_json(documents: Sequence[Document], *, many: bool) -> str:
    return json.dumps(_whole(documents, many=many), indent=4, ensure_ascii=False)


def as_yaml(documents: Sequence[Document], *, many: bool) -> str:
    return dumped(_whole(documents, many=many))


def as_names(documents: Sequence[Document]) -> str:
    return "\n".join(full_name(document) for document in documents)


def full_name(document: Document) -> str:
    """`asgdjob.asgd.dev/digits`, as kubectl calls what it has done something to."""
    group = str(document.get("apiVersion", "")).rpartition("/")[0]
    return f"{str(document['kind']).lower()}{'.' if group else ''}{group}/{name_of(document)}"


def _whole(documents: Sequence[Document], *, many: bool) -> Document:
    """NB: as kubectl, without managedFields, which nobody reads."""
    bare = [
        {
            **each,
            "metadata": {key: value for key, value in each["metadata"].items() if key != "managedFields"},
        }
        for each in documents
    ]
    if many or len(bare) != 1:
        return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": bare}
    return bare[0]


def dumped(value: object) -> str:
    """YAML of any JSON value."""
    return dump.as_yaml(value).rstrip("\n")
