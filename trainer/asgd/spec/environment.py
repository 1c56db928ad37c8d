"""The environment variables by which processes of a job are told their part, the same in pods and on a laptop.

`Env` is the only list of them: `asgd run` and the operator set them, `host/env.py` reads them, and
docs/reference/environment.md is made from it. A member is a `str`, so it serves as a key of any environment.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

HASH_SEED = {"PYTHONHASHSEED": "0"}
"""Of every process that runs users' code, whatever its shell says: sets of strings have one order in all of them, and
so have classes and vocabularies that are numbered by a set (decision 020)."""

LAUNCHERS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
LAUNCHERS_PREFIX = "TORCHELASTIC_"
"""What torchrun tells its processes: kept from those of a job on this machine (`host/ranks.py`)."""


class Env(StrEnum):
    """Name and meaning of each variable."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning = meaning
        return member

    # What a server, a worker or an evaluator is told.
    JOB = "ASGD_JOB", "path of the checked job as JSON"
    INDEX = "ASGD_INDEX", "index of this shard or worker"
    SERVERS = "ASGD_SERVERS", "endpoints of all shards in order, comma-separated"
    BIND = "ASGD_BIND", "where a server listens"
    BULK = (
        "ASGD_BULK",
        "where a server listens for bulk connections, as tcp://0.0.0.0:7078; beside ASGD_BIND if not set",
    )
    KEYS = "ASGD_KEYS", "path of the CURVE keys; needed when endpoints are not local"
    METRICS = (
        "ASGD_METRICS",
        "host:port of /metrics, /status, /healthz, /readyz; port 0 takes a free one, empty serves none",
    )
    CHECKPOINT = "ASGD_CHECKPOINT", "URI of the checkpoint store"
    ANNOUNCE = "ASGD_ANNOUNCE", "file that gets {pid, metrics} as soon as the process serves"
    LIVE = "ASGD_LIVE", "file with the live fields of the spec; servers read it again when it changes"
    JOB_FOLDER = (
        "ASGD_JOB_FOLDER",
        "folder of the user's job file, where entrypoints and their imports are looked for last",
    )
    SOURCE = "ASGD_SOURCE", "folder for the files of spec.source; a temporary one if not set"
    EXTRAS = (
        "ASGD_EXTRAS",
        "file in which the evaluator leaves the model's state beside its trained parameters; workers leave theirs"
        " next to it",
    )
    STATE = (
        "ASGD_STATE",
        "folder in which workers keep what their own optimizers (Task.optimizer) remember, for their successors; not"
        " set: `optimizers/` in the object store that spec.checkpoint.uri names; without one such a state begins anew"
        " with each process",
    )
    THREADS = (
        "ASGD_THREADS",
        "threads that PyTorch computes with; not set: OMP_NUM_THREADS, else the container's limit of cores, else 1",
    )
    WARNINGS = (
        "ASGD_WARNINGS",
        "file to which processes add the warnings of users' code, a line of JSON each, for `asgd run` to say; not set:"
        " they are in the logs alone",
    )
    SHM = (
        "ASGD_SHM",
        "memory-backed folder that workers and servers of one machine share; /dev/shm if not set; on a cluster the"
        " volume of exchange.sharedMemory",
    )
    MEMORY = (
        "ASGD_MEMORY",
        "memory-backed folder in which servers keep what they hold for their successors in this run; not set or empty:"
        " nowhere. `asgd run` makes one, unless the variable is there already",
    )
    RUN = (
        "ASGD_RUN",
        "which start of the job this is (the AsgdJob's UID on a cluster): what a restore asked for happens once a run",
    )
    RECORD = (
        "ASGD_RECORD",
        "folder for the logs that `asgd replay` reads (on a cluster on the claim of spec.record); not set: nothing is"
        " recorded",
    )
    PROFILE = (
        "ASGD_PROFILE",
        "FIRST:LAST:PATH: this worker profiles these steps of its own and leaves PATH.json and PATH.txt; not set: none",
    )
    NODE = "ASGD_NODE", "name of the machine, for strategies that group by node"
    JOIN_TIMEOUT = (
        "ASGD_JOIN_TIMEOUT",
        "seconds a worker waits for servers before it exits with 75; 300 if not set",
    )
    PARENT = (
        "ASGD_PARENT",
        "process id of the parent whose end also ends this process (Linux); not set: it lives on its own",
    )

    # What the container beside shard 0 is told that serves the job's page.
    PAGE = "ASGD_PAGE", "host:port where `asgd page` serves"
    PAGE_TOKEN = "ASGD_PAGE_TOKEN", "path of the token that the page asks for"
    PAGE_FOLDER = (
        "ASGD_PAGE_FOLDER",
        "folder of page.json, from which a page that was started again goes on",
    )

    # What users' code in a worker is told.
    WORKER_INDEX = "ASGD_WORKER_INDEX", "for users' code: index of this worker"
    WORKERS = "ASGD_WORKERS", "for users' code: how many workers the job wanted when this one started"
