"""How a server, worker or evaluator process is told its part: environment variables, the same in pods and on a laptop.

| variable | meaning |
|---|---|
| ASGD_JOB | path of the checked job as JSON |
| ASGD_INDEX | index of this shard or worker |
| ASGD_SERVERS | endpoints of all shards in order, comma-separated |
| ASGD_BIND | where a server listens |
| ASGD_BULK | where a server listens for bulk connections, as tcp://0.0.0.0:7078; beside ASGD_BIND if not set |
| ASGD_KEYS | path of the CURVE keys; needed when endpoints are not local |
| ASGD_METRICS | host:port of /metrics, /status, /healthz, /readyz; port 0 takes a free one, empty serves none |
| ASGD_CHECKPOINT | URI of the checkpoint store |
| ASGD_ANNOUNCE | file that gets {pid, metrics} as soon as the process serves |
| ASGD_LIVE | file with the live fields of the spec, read again when it changes |
| ASGD_JOB_FOLDER | folder of the user's job file, where entrypoints and their imports are looked for last |
| ASGD_SOURCE | folder for the files of spec.source; a temporary one if not set |
| ASGD_EXTRAS | file in which the evaluator leaves the model's state beside its trained parameters |
| ASGD_SHM | memory-backed folder that workers and servers of one machine share; /dev/shm if not set; on a cluster the
volume of exchange.sharedMemory |
| ASGD_MEMORY | memory-backed folder in which servers keep what they hold for their successors in this run; not set or
empty: nowhere. `asgd run` makes one, unless the variable is there already |
| ASGD_RUN | which start of the job this is (the AsgdJob's UID on a cluster): what a restore asked for
happens once a run |
| ASGD_RECORD | folder for the logs that `asgd replay` reads; not set: nothing is recorded |
| ASGD_NODE | name of the machine, for strategies that group by node |
| ASGD_JOIN_TIMEOUT | seconds a worker waits for servers before it exits with 75 |
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asgd.errors import UserError
from asgd.spec import Job, job_from_json
from asgd.wire.control import Keys, is_local


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """One process's part of a job."""

    job: Job
    index: int
    servers: tuple[str, ...]
    bind: str
    keys: Keys | None
    metrics: str
    checkpoint: str
    announce: Path | None
    live: Path | None
    run: str
    node: str
    join_timeout_seconds: float
    incarnation: int
    """Grows with every start of the same index: who came last is the real one."""
    extras: Path | None = None
    record: Path | None = None
    bulk: str = ""
    memory: Path | None = None

    def announce_address(self, role: str, metrics: str) -> None:
        """Tells the parent process (or a person) where this process is."""
        if self.announce:
            body = {"role": role, "index": self.index, "pid": os.getpid(), "metrics": metrics}
            partial = self.announce.with_suffix(".partial")
            partial.write_text(json.dumps(body), encoding="utf-8")
            partial.replace(self.announce)


def read_config(env: Mapping[str, str] = os.environ) -> ProcessConfig:
    """This process's part. Raises UserError when a variable is missing or wrong."""
    job_path = Path(_need(env, "ASGD_JOB"))
    try:
        job = job_from_json(job_path.read_bytes())
    except OSError as error:
        raise UserError(f"ASGD_JOB: {job_path} cannot be read: {error}") from error
    servers = tuple(part.strip() for part in _need(env, "ASGD_SERVERS").split(",") if part.strip())
    if len(servers) != job.spec.parameter_server.shards:
        raise UserError(
            f"ASGD_SERVERS: {len(servers)} endpoints, but the job has {job.spec.parameter_server.shards} shards"
        )
    sealed = job.spec.network.encryption != "None" and not all(is_local(server) for server in servers)
    if sealed and not env.get("ASGD_KEYS"):
        raise UserError("ASGD_KEYS: not set; spec.network.encryption Sealed needs the job's keys outside ipc")
    return ProcessConfig(
        job=job,
        index=_integer(env, "ASGD_INDEX"),
        servers=servers,
        bind=env.get("ASGD_BIND", ""),
        keys=Keys.load(Path(env["ASGD_KEYS"])) if sealed else None,
        metrics=env.get("ASGD_METRICS", ""),
        checkpoint=env.get("ASGD_CHECKPOINT", ""),
        announce=Path(env["ASGD_ANNOUNCE"]) if env.get("ASGD_ANNOUNCE") else None,
        live=Path(env["ASGD_LIVE"]) if env.get("ASGD_LIVE") else None,
        run=env.get("ASGD_RUN", ""),
        node=env.get("ASGD_NODE", ""),
        join_timeout_seconds=float(env.get("ASGD_JOIN_TIMEOUT", "300")),
        incarnation=time.time_ns(),
        extras=Path(env["ASGD_EXTRAS"]) if env.get("ASGD_EXTRAS") else None,
        record=Path(env["ASGD_RECORD"]) if env.get("ASGD_RECORD") else None,
        bulk=env.get("ASGD_BULK", ""),
        memory=Path(env["ASGD_MEMORY"]) if env.get("ASGD_MEMORY") else None,
    )


def _need(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise UserError(f"{name}: not set; `asgd run JOB.yaml` or the operator sets it")
    return env[name]


def _integer(env: Mapping[str, str], name: str) -> int:
    text = _need(env, name)
    if not text.isdecimal():
        raise UserError(f"{name}: {text!r} is not a whole number from 0")
    return int(text)
