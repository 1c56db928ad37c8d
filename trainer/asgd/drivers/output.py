"""Where a run on this machine leaves its files: which folder, fresh or continued, and what stands in it.

    summary.json  history.jsonl  curves.png  model.safetensors  job.yaml  processes.json     the contract
    connect.json  how another process joins the run      logs/  a file for each process      checkpoints/
    replay/  what `asgd replay` needs

A fresh run never writes over another one: without --output it takes the next free runs/NAME-N; with --output into a
folder that holds a run, it must be told to continue (`checkpoint.restore`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from asgd.errors import UserError
from asgd.spec import Job


@dataclass(frozen=True, slots=True)
class Output:
    """The folder of one run."""

    folder: Path
    continued: bool
    made: bool
    """The folder was not there before."""

    def file(self, name: str) -> Path:
        return self.folder / name

    def discard(self) -> None:
        """Leaves no trace of a run that never began; what holds files stays."""
        with suppress(OSError):
            (self.folder / "logs").rmdir()
            if self.made:
                self.folder.rmdir()

    @property
    def extras(self) -> Path:
        """The evaluator's part of the model, until the run puts it into model.safetensors."""
        return (self.folder / "extras.safetensors").absolute()

    @property
    def recording(self) -> Path:
        """The order in which things happened, for `asgd replay`."""
        return (self.folder / "replay").absolute()

    @property
    def checkpoints(self) -> str:
        """The default checkpoint store."""
        return str((self.folder / "checkpoints").absolute())


def choose_output(job: Job, asked: str | None) -> Output:
    """Picks and makes the folder. Raises UserError when it can't be written or holds another run."""
    restoring = "checkpoint.restore" in job.given
    if asked is not None:
        folder = Path(asked)
        holds = folder.exists() and (folder / "job.yaml").exists()
        if holds and not restoring:
            raise UserError(
                f"--output: {asked} holds a run already; continue it with --set checkpoint.restore=Latest,"
                " or choose another folder"
            )
    else:
        folder, holds = _default(job.name, restoring)
    made = not folder.exists()
    _make(folder, asked)
    return Output(folder, holds, made)


def _default(name: str, restoring: bool) -> tuple[Path, bool]:
    """The newest run of this name when restoring, else the next free folder."""
    folder, number = Path("runs") / name, 1
    newest = None
    while folder.exists():
        newest = folder if (folder / "job.yaml").exists() else newest
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    if restoring and newest is not None:
        return newest, True
    return folder, False


def _make(folder: Path, asked: str | None) -> None:
    place = f"--output: {asked}" if asked is not None else str(folder)
    try:
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror}") from error
