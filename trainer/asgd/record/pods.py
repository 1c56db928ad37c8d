"""The recording of a job in pods: no process is the parent of all there, so each of them describes itself.

Shard 0 leaves the job as it read it, a worker the threads and the packages that it computes with. Whoever has copied
the folder makes a recording of it as `asgd run` leaves one (`close`). Beside a `run.json` nothing is left: `asgd run`
has written the same there.

NB: live fields may change while the job runs. They decide when shard 0 saves, gives out data and ends the job, and all
that stands in the logs; so the job is left without them. The one exception is the number of workers where the strategy
computes with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from asgd.algorithms.registry import halves
from asgd.errors import UserError
from asgd.record import run as recording
from asgd.record.format import AnyRecord, Head, Joined, Restored, read_log
from asgd.spec.evaluators import is_script
from asgd.spec.live import split
from asgd.spec.load import job_from_json, job_to_json
from asgd.spec.types import Job, JobSpec
from asgd.wire.limits import WORKERS_MOST

JOB = "job.json"


class Process(Struct, rename="camel"):
    """worker-INDEX-INCARNATION.json."""

    threads: int
    packages: dict[str, str]
    """{package: version} that compute."""


# -- in the pods -----------------------------------------------------------------------------------


def leave_job(folder: Path | None, job: Job) -> None:
    """Shard 0's. An edit of what a replay computes with leaves one file more. `folder` None: not recorded."""
    data = job_to_json(replace(job, document={**job.document, "spec": _computed(job)}))
    _leave(folder, f"job-{hashlib.sha256(data).hexdigest()[:12]}.json", data)


def leave_process(folder: Path | None, index: int, incarnation: int, threads: int) -> None:
    """A worker's. `folder` None: not recorded."""
    data = msgspec.json.encode(Process(threads, recording.packages()))
    _leave(folder, f"worker-{index}-{incarnation}.json", data)


def _computed(job: Job) -> dict[str, Any]:
    """The spec that a replay computes with."""
    spec, _ = split(job.document["spec"])
    if halves(job.spec).strategy.majority:
        spec["workers"] = {**spec.get("workers", {}), "replicas": job.spec.workers.replicas}
    return spec


def _leave(folder: Path | None, name: str, data: bytes) -> None:
    """Whole or not at all. As with the logs, a disk that fails ends the recording, never the run."""
    if folder is None or (folder / "run.json").exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{name}.partial-{os.getpid()}"
        partial.write_bytes(data)
        partial.replace(folder / name)
    except OSError:
        return


# -- where it was copied to ------------------------------------------------------------------------


def close(folder: Path, save: int, weights: str) -> str:
    """Makes a recording of what the pods of a job have left in `folder`; returns why it can't be replayed, or ''.

    `save` holds the final weights, whose hash is `weights` (0 and '': there are none). Raises UserError where a
    file is damaged.
    """
    jobs = sorted(folder.glob("job-*.json"))
    if len(jobs) != 1:
        return _no_job(len(jobs))
    job = _read_job(jobs[0])
    found = [_process(path) for path in sorted(folder.glob("worker-*.json"))]
    obstacle = _obstacle(job.spec, folder, found)
    told = found[0] if found else Process(1, {})
    try:
        jobs[0].replace(folder / JOB)
        recording.write(folder, recording.RunRecord(".", str(told.threads), told.packages))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error
    return recording.seal(folder, job.spec.parameter_server.shards, save, weights, obstacle)


def read_job(folder: Path) -> Job:
    """The job for a replay: of any number of workers, which is a live field. Raises UserError."""
    job = _read_job(folder / JOB)
    workers = replace(job.spec.workers, max_replicas=WORKERS_MOST)
    return replace(job, spec=replace(job.spec, workers=workers))


def _no_job(count: int) -> str:
    if count:
        return (
            "its spec was edited while it was suspended, or workers.replicas where the strategy computes with them, so"
            " its logs are of more than one job"
        )
    return "the recording is empty: shard 0 could not write to the claim"


def _obstacle(spec: JobSpec, folder: Path, found: list[Process]) -> str:
    logs = [read_log(path) for path in sorted(folder.glob("*.log"))]
    joined = [
        record for log in logs for record in log if isinstance(record, Joined) and record.role == "worker"
    ]
    if not joined:
        return "no worker has joined it"
    dataset = None if any(worker.dataset is None for worker in joined) else joined[0].dataset
    known = recording.obstacle(
        spec, script=is_script(spec.entrypoint), dataset=dataset, restored=_restored(logs)
    )
    return known or _unrecorded(logs, joined) or _unlike(found)


def _restored(logs: Iterable[list[AnyRecord]]) -> bool:
    """The first start of shard 0 took over a save: there is a recording of neither that save nor what led to it."""
    starts = {
        head.number: log[1:2]
        for log in logs
        if isinstance(head := log[0], Head) and head.role == "shard" and not head.index
    }
    return bool(starts) and any(isinstance(record, Restored) for record in starts[min(starts)])


def _unrecorded(logs: Iterable[list[AnyRecord]], joined: Iterable[Joined]) -> str:
    known = {
        (head.index, head.number)
        for log in logs
        if isinstance(head := log[0], Head) and head.role == "worker"
    }
    lacking = sorted({worker.index for worker in joined if (worker.index, worker.incarnation) not in known})
    if not lacking:
        return ""
    who = f"worker {lacking[0]} took part and left no log"
    return f"the recording is incomplete: {who} (a guest from outside leaves none)"


def _unlike(found: Iterable[Process]) -> str:
    threads = sorted({process.threads for process in found})
    if len(threads) > 1:
        counts = " and ".join(map(str, threads))
        return f"its workers computed with {counts} threads, and a replay has one number (spec.workers.threads sets it)"
    if len({tuple(sorted(process.packages.items())) for process in found}) > 1:
        return "its workers did not all have the same versions of torch, numpy and asgd-operator"
    return ""


def _read_job(path: Path) -> Job:
    try:
        return job_from_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _process(path: Path) -> Process:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Process)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
