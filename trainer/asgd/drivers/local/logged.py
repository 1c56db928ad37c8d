"""The loggers of a run on this machine: they follow its history.jsonl, and keep in loggers/ how far they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from asgd.drivers.output import Output
from asgd.loggers.starting import Loggers, Paths
from asgd.spec import Job, job_to_json


def loggers_of(job: Job, private: Path, output: Output, note: Callable[[str], None]) -> Loggers:
    """Those that `job` asks for, not started yet."""
    told = private / "logged.json"
    if job.spec.logging:
        told.touch(mode=0o600)
        told.write_bytes(job_to_json(job))
    folder = output.folder.absolute()
    paths = Paths(folder / "history.jsonl", folder, folder / "logs", folder / "loggers")
    return Loggers(job.spec.logging, told, paths, note)


def without_loggers(job: Job) -> bytes:
    """What the other processes are told of `job`: the evaluator would log it a second time."""
    spec = {name: value for name, value in job.document["spec"].items() if name != "logging"}
    return job_to_json(msgspec.structs.replace(job, document=job.document | {"spec": spec}))
