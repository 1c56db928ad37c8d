"""How a server, worker or evaluator process is told its part: environment variables, the same in pods and on a laptop.

`asgd.spec.environment` lists them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asgd.errors import UserError
from asgd.host.say import say
from asgd.spec import Job, job_from_json
from asgd.spec.environment import Env
from asgd.spec.live import with_live
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
    state: Path | None = None
    record: Path | None = None
    bulk: str = ""
    memory: Path | None = None

    def announce_address(self, role: str, metrics: str) -> None:
        """Tells the parent process (or a person) where this process is."""
        if self.announce:
            body = {"role": role, "index": self.index, "pid": os.getpid(), "metrics": metrics}
            partial = self.announce.with_suffix(".partial")
            try:
                partial.write_text(json.dumps(body), encoding="utf-8")
                partial.replace(self.announce)
            except OSError as error:  # nobody finds this process, but it works
                say(f"{self.announce} cannot be written: {error.strerror}")


def read_config(env: Mapping[str, str] = os.environ) -> ProcessConfig:
    """This process's part. Raises UserError when a variable is missing or wrong."""
    job = read_job(env)
    servers = tuple(part.strip() for part in _need(env, Env.SERVERS).split(",") if part.strip())
    if len(servers) != job.spec.parameter_server.shards:
        raise UserError(
            f"{Env.SERVERS}: {len(servers)} endpoints, but the job has {job.spec.parameter_server.shards} shards"
        )
    sealed = job.spec.network.encryption != "None" and not all(is_local(server) for server in servers)
    if sealed and not env.get(Env.KEYS):
        raise UserError(
            f"{Env.KEYS}: not set; spec.network.encryption Sealed needs the job's keys outside ipc"
        )
    return ProcessConfig(
        job=job,
        index=_integer(env, Env.INDEX),
        servers=servers,
        bind=env.get(Env.BIND, ""),
        keys=Keys.load(Path(env[Env.KEYS])) if sealed else None,
        metrics=env.get(Env.METRICS, ""),
        checkpoint=env.get(Env.CHECKPOINT, ""),
        announce=Path(env[Env.ANNOUNCE]) if env.get(Env.ANNOUNCE) else None,
        live=Path(env[Env.LIVE]) if env.get(Env.LIVE) else None,
        run=env.get(Env.RUN, ""),
        node=env.get(Env.NODE, ""),
        join_timeout_seconds=_seconds(env, Env.JOIN_TIMEOUT, 300.0),
        incarnation=time.time_ns(),
        extras=Path(env[Env.EXTRAS]) if env.get(Env.EXTRAS) else None,
        state=Path(env[Env.STATE]) if env.get(Env.STATE) else None,
        record=Path(env[Env.RECORD]) if env.get(Env.RECORD) else None,
        bulk=env.get(Env.BULK, ""),
        memory=Path(env[Env.MEMORY]) if env.get(Env.MEMORY) else None,
    )


def read_job(env: Mapping[str, str]) -> Job:
    """The job, with its live fields as they are now. Raises UserError when it is not told, or can't be read.

    NB: pods share a file that has no live fields, and whoever took their defaults for what the user has given would
    refuse the job by another stop rule, share data among another number of workers, or trust other majorities.
    """
    job = job_from_json(_text(env, Env.JOB))
    return with_live(job, _text(env, Env.LIVE)) if env.get(Env.LIVE) else job


def _text(env: Mapping[str, str], name: Env) -> bytes:
    path = Path(_need(env, name))
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be read: {error}") from error


def _need(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise UserError(f"{name}: not set; `asgd run JOB.yaml` or the operator sets it")
    return env[name]


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{name}: {text!r} is not a number of seconds from 0")
    return seconds


def _integer(env: Mapping[str, str], name: str) -> int:
    text = _need(env, name)
    if not text.isdecimal():
        raise UserError(f"{name}: {text!r} is not a whole number from 0")
    return int(text)
