"""The recording of one run on this machine: whether it can be replayed, `replay/run.json`, and its seal at the end.

The parent of the run's processes writes it; the logs beside it are the processes' own. Sealing notes the final weights
and a hash of each log, so that a replay knows what it has to come to, and that nobody has changed the logs.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from asgd.errors import UserError
from asgd.host.files import UNSEALED, check_seal, sealed
from asgd.kernel import F32
from asgd.record.format import Ended, read_log
from asgd.spec.types import JobSpec

INCOMPLETE = "the recording is incomplete: a parameter server did not end in order"


class RunRecord(Struct, rename="camel"):
    """replay/run.json."""

    job_folder: str
    """Where the job's file lay: users' code is looked for there. Relative to the run's folder where it lies in that."""
    threads: str
    """Threads that each process computes with: they may change a gradient's last bits."""
    packages: dict[str, str]
    """{package: version} that compute."""
    files: dict[str, str] = {}
    """{log: sha256}"""
    save: int = 0
    """The save that holds the final weights; 0: there are none."""
    weights: str = ""
    """sha256 of the final weights, float32 in the layout's order."""
    not_replayable: str = "it did not come to its end, or goes on"
    """Why this run can't be replayed; "" when it can."""
    crc32: str = ""
    """Of this file, with "00000000" in this place."""


def obstacle(spec: JobSpec, *, script: bool, dataset: int | None, restored: bool) -> str:
    """Why a run of `spec` can't be replayed exactly; empty when it can."""
    if script:
        return "the entrypoint is a script with a training loop of its own (asgd.connect)"
    if dataset is None:
        return "the data is a stream or has a sampler of its own, so nobody knows which samples were read"
    if spec.workers.devices.count:
        return "it computes on GPUs, whose sums differ in their last bits from run to run"
    if spec.exchange.read_in_place:
        return "workers read weights where they are updated (exchange.readInPlace), so nobody knows what they read"
    if restored:
        return "it began from a checkpoint of an earlier run"
    return ""


def begin(folder: Path, job_folder: Path, threads: int) -> None:
    """Starts the recording in `folder`, over that of an earlier run. A disk that fails shows when it is sealed."""
    shutil.rmtree(folder, ignore_errors=True)
    run = folder.parent.resolve()
    if job_folder.resolve().is_relative_to(run):  # the run may be moved, and its code with it
        job_folder = job_folder.resolve().relative_to(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, RunRecord(str(job_folder), str(threads), packages()))
    except OSError:
        return


def seal(folder: Path, shards: int, save: int, weights: str, obstacle: str = "") -> str:
    """The run is over; `save` holds its final weights, whose hash is `weights`. Returns why it can't be replayed.

    `obstacle`: the reason that is known already, if there is one.
    """
    try:
        record = read(folder)
        for path in sorted(folder.glob("*.log")):
            record.files[path.name] = _digest(path)
        whole = all(_whole(folder, shard) for shard in range(shards))
        record.save, record.weights = save, weights
        record.not_replayable = obstacle or ("" if whole else INCOMPLETE)
        write(folder, record)
    except (OSError, UserError) as error:
        return obstacle or f"the recording was not written: {error}"
    return record.not_replayable


def _whole(folder: Path, shard: int) -> bool:
    """Whether the newest log of a shard comes to its end."""
    logs = sorted(folder.glob(f"shard-{shard}-*.log"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return bool(logs) and isinstance(read_log(logs[-1])[-1], Ended)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path) -> RunRecord:
    """run.json. Raises UserError when there is none."""
    path = folder / "run.json"
    try:
        data = path.read_bytes()
        check_seal(data)
        return msgspec.json.decode(data, type=RunRecord)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def write(folder: Path, record: RunRecord) -> None:
    """Puts run.json, with its own checksum, into `folder`. Raises OSError."""
    record.crc32 = UNSEALED
    text = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    (folder / "run.json").write_bytes(sealed(text))


def check(folder: Path, record: RunRecord) -> None:
    """Raises UserError where a log is not as the run left it."""
    for name, wanted in record.files.items():
        path = folder / name
        try:
            found = _digest(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        if found != wanted:
            raise UserError(
                f"{path} is not as the run left it: its sha256 is {found[:12]}, not {wanted[:12]}"
            )


def packages() -> dict[str, str]:
    """Versions of what computes here."""
    found = {}
    for name in ("asgd-operator", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def weights_hash(parts: Iterable[F32]) -> str:
    """sha256 of weights that come in parts, in the layout's order."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
