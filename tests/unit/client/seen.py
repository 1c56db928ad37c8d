"""Jobs to be explained: documents that a real cluster gave (`documents/`), and a builder for what it gives rarely."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from asgd.client.explain import Facts
from asgd.spec.status import Status

FOLDER = Path(__file__).parent / "documents"
NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
Document = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """`facts` and what is to be said of them: verdict, cause, field, words of the sentence, words of the fix."""

    facts: Facts
    verdict: str
    kind: str
    field: str = ""
    says: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    now: datetime = NOW


def real(name: str) -> tuple[Facts, datetime]:
    """What a cluster of two nodes said of the job of this name, and when."""
    found = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    facts = Facts(
        namespace=f"explain-{name}",
        name=name,
        job=found["job"],
        pods=found.get("pods", []),
        events=found.get("events", []),
        logs=found.get("logs", {}),
        report=_status(found.get("report")),
        earlier=_status(found.get("earlier")),
        apart=found.get("apart", 0.0),
    )
    return facts, datetime.fromisoformat(found["now"])


def _status(found: Document | None) -> Status | None:
    return None if found is None else msgspec.json.decode(msgspec.json.encode(found), type=Status)


def condition(kind: str, reason: str, message: str = "", status: bool = True) -> Document:
    return {"type": kind, "status": str(status), "reason": reason, "message": message}


def job(*conditions: Document, spec: Document | None = None, status: Document | None = None) -> Document:
    """An AsgdJob `digits` with these conditions."""
    return {
        "apiVersion": "asgd.dev/v1alpha1",
        "metadata": {"name": "digits", "generation": 1, "creationTimestamp": "2026-11-30T11:00:00Z"},
        "spec": {"entrypoint": "train:task", "workers": {"replicas": 2}} | (spec or {}),
        "status": {"observedGeneration": 1, "conditions": [*conditions], **(status or {})},
    }


def facts(*conditions: Document, **more: Any) -> Facts:
    """`more`: spec, status, and the fields of Facts."""
    spec, status = more.pop("spec", None), more.pop("status", None)
    return Facts("ml", "digits", job(*conditions, spec=spec, status=status), **more)


def running(*conditions: Document, **more: Any) -> Facts:
    """A job that trains, in which something else may hold."""
    all_well = (
        condition("ParameterServersReady", "AllReady"),
        condition("WorkersReady", "EnoughReady"),
        condition("Running", "TrainingProgressing"),
    )
    more["status"] = {"workers": {"ready": 2}} | more.get("status", {})
    return facts(*all_well, *conditions, **more)


def servers(reason: str, message: str, **more: Any) -> Facts:
    return facts(condition("ParameterServersReady", reason, message, False), **more)


def workers(reason: str, message: str, **more: Any) -> Facts:
    ready = condition("ParameterServersReady", "AllReady")
    return facts(ready, condition("WorkersReady", reason, message, False), **more)


def ended(reason: str, message: str, *beside: Document, **more: Any) -> Facts:
    return facts(condition("Failed", reason, message), *beside, **more)


def degraded(reason: str, message: str, **more: Any) -> Facts:
    return running(condition("Degraded", reason, message), **more)


def report(**changes: Any) -> Status:
    """Of a job in good health."""
    plain: Document = {"algorithm": "asgd", "phase": "running", "updates": 1000, "samples": 32000}
    return msgspec.json.decode(msgspec.json.encode(plain | changes), type=Status)


def worker(index: int, *, letters: str = "", step: int = 20, **more: Any) -> Document:
    """One that trains. `step`: the bucket of its steps' durations (`spec/durations.py`)."""
    return {
        "index": index,
        "state": "running",
        "joined": 0.0,
        "times": {"own": {"counts": {str(step): 100}, "seconds": 1.0}},
        "phases": {"number": len(letters), "letters": letters},
    } | more
