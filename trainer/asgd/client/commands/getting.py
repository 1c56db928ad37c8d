"""`model`: the trained weights of a job, as a file here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from asgd.client.access import Access
from asgd.client.assembling import Written, best_of, latest
from asgd.client.commands.base import Arguments, Commands, add, add_job, refuse
from asgd.client.documents import Document, ended, name_of, part
from asgd.client.fetching import fetch, way
from asgd.report import units

WHICH = ("latest", "final", "best")
_HOW = """\
latest  the newest checkpoint, while the job runs, too       final  the same, of a job that has ended
best    the best evaluation's, with spec.checkpoint.best     (the only one with buffers, as those of batch norm)

From a bucket it is read from here, with your own credentials for it. From a claim it is copied out of shard 0's pod,
or, when the servers are gone, out of a pod that mounts the claim read-only and is deleted at once. Checkpoints in an
emptyDir are copied out of the servers' pods, while these run."""


def add_commands(commands: Commands) -> None:
    model = add(commands, "model", _model, "download a job's weights as a safetensors file", epilog=_HOW)
    add_job(model)
    model.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="where to write (default: JOB.safetensors)"
    )
    model.add_argument("--which", choices=WHICH, default="latest", help="default: latest")


def _model(access: Access, arguments: Arguments) -> int:
    job = access.job(arguments.name)
    target = arguments.to or Path(f"{arguments.name}.safetensors")
    written = download(access, job, target, arguments.which, say=print)
    size = units.size(target.stat().st_size)
    parameters = f", {written.parameters:,} parameters" if written.parameters else ""
    note = f" ({written.note})" if written.note else ""
    print(f"{target}: of update {written.updates:,}{parameters}, {size}{note}")
    return 0


def download(
    access: Access, job: Document, target: Path, which: str, say: Callable[[str], object] = lambda text: None
) -> Written:
    """Writes the model of `job` to `target`. Raises UserError, ApiError."""
    if which == "final" and ended(job) != "Complete":
        raise refuse(
            f"{name_of(job)} is {part(job, 'status', 'phase')} and has no final model; --which=latest takes its newest"
            " checkpoint"
        )
    if which == "best" and not part(job, "spec", "checkpoint", "best"):
        raise refuse(f"{name_of(job)} keeps no best model: that needs spec.checkpoint.best")
    found = way(job, access.pods(name_of(job), "server"))
    say(str(found))
    with tempfile.TemporaryDirectory() as folder:
        uri = fetch(access, job, found, "best" if which == "best" else "latest", Path(folder))
        return (best_of if which == "best" else latest)(uri, target)
