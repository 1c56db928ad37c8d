"""Brings the recording of a job here, and makes of it what `asgd replay` reads.

The logs lie on the claim that `spec.record` names; a short-lived pod that mounts it reads them, as with checkpoints on
a claim. What the replay has to come to are the weights of the job's last checkpoint.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from asgd.client.access import Access, Document
from asgd.client.assembling import final
from asgd.client.documents import ended, name_of, part
from asgd.client.fetching import PACK, Mounted, helper, unpack, way
from asgd.errors import UserError
from asgd.record import pods

_PLACE = "/recording"
_GONE_SECONDS = 150.0
"""A server may take 120 s for its last checkpoint, and its log ends with it."""
_PACK_FOLDER = """
import os, sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
if os.path.isdir(sys.argv[1]):
    out.add(sys.argv[1], "replay")
out.close()
"""
"""Runs in a pod."""


def refuse_unfinished(job: Document) -> None:
    """Pure. Raises UserError where there is no recording, or none of a whole job."""
    name = name_of(job)
    if not claim_of(job):
        raise UserError(
            f"{name} was not recorded; a job is recorded that was sent with a claim for it: kubectl asgd submit PATH"
            " --checkpoints CLAIM --record CLAIM"
        )
    if not ended(job):
        raise UserError(
            f"{name} has not ended, and its recording is whole only then: kubectl asgd wait {name}, or kubectl asgd"
            f" stop {name} --wait"
        )
    if part(job, "spec", "runPolicy", "cleanPodPolicy") == "None":
        raise UserError(
            f"{name} has runPolicy.cleanPodPolicy None, so its servers run on, and their logs end with them: set it to"
            " Running, which it may be at any time"
        )


def claim_of(job: Document) -> str:
    """Where the job is recorded; '' when it is not."""
    return str(part(job, "spec", "record", "pvc") or "")


def fetch(access: Access, job: Document, target: Path, say: Callable[[str], object]) -> None:
    """Puts the recording of `job` into the folder `target`, in place of an earlier one there.

    Raises UserError where it cannot be replayed, with the reason that `asgd run` would give; ApiError.
    """
    refuse_unfinished(job)
    if target.exists() and not (target / "replay" / "run.json").is_file():
        raise UserError(f"--to: {target} is there already, and is no recording")
    _await_gone(access, name_of(job), say)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".asgd-", dir=target.absolute().parent) as place:
            run = Path(place) / "run"
            run.mkdir()
            save, weights = _copy(access, job, run, Path(place) / "store", say)
            if obstacle := pods.close(run / "replay", save, weights):
                raise UserError(f"{name_of(job)} cannot be replayed: {obstacle}")
            if target.exists():
                shutil.rmtree(target)
            run.replace(target)
    except OSError as error:
        raise UserError(f"--to: {target} cannot be written: {error.strerror or error}") from error


def _copy(
    access: Access, job: Document, run: Path, store: Path, say: Callable[[str], object]
) -> tuple[int, str]:
    """Copies the logs into `run`; returns the save of the final weights and their hash."""
    uid, claim = str(job["metadata"]["uid"]), claim_of(job)
    found = way(job, ())
    mounts = [Mounted(claim, _PLACE)] + ([Mounted(found.claim, found.place)] if found.claim else [])
    say(f"recording  on claim {claim}, through a pod that mounts it for a moment")
    with helper(access, job, mounts) as pod:
        folder = f"{_PLACE}/replay/{name_of(job)}-{uid}"
        names = unpack(access.execute(pod, ["python", "-c", _PACK_FOLDER, folder]), run, "the recording")
        if found.claim:
            unpack(access.execute(pod, ["python", "-c", PACK, found.place, "latest", ""]), store)
    if not names:
        raise UserError(
            f"claim {claim} holds no recording of {name_of(job)}: it was deleted there, or never written"
        )
    return final(str(store) if found.claim else found.place, uid)


def _await_gone(access: Access, name: str, say: Callable[[str], object]) -> None:
    """Until the servers of a job that has ended are gone, or should be: a log that lacks its end is named later."""
    deadline, told = time.monotonic() + _GONE_SECONDS, False
    while access.pods(name, "server") and time.monotonic() < deadline:
        if not told:
            say(f"waiting    at most {_GONE_SECONDS:.0f} s for the end of the servers of {name}")
        told = True
        time.sleep(1.0)
