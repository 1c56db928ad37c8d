"""Where a run on this machine leaves its files: which folder, fresh or continued, and what stands in it.

    summary.json  history.jsonl  curves.png  model.safetensors  job.yaml  processes.json     the contract
    connect.json  how another process joins the run      logs/  a file for each process      checkpoints/
    replay/  what `asgd replay` needs          asgd_sent.py, asgd_sent.pickle  the task of `asgd.run`, if it had no file

A fresh run never writes over another one: without --output it takes the next free runs/NAME-N; with --output into a
folder that holds a run, it must be told to continue (`checkpoint.restore`). While a run goes on nobody else gets its
folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from asgd.errors import UserError
from asgd.host.locks import Busy, FolderLock
from asgd.spec import Job


@dataclass(frozen=True, slots=True)
class Output:
    """The folder of one run."""

    folder: Path
    continued: bool
    made: bool
    """The folder was not there before."""
    locks: list[FolderLock] = field(default_factory=list)
    """Keep other runs out of what this one writes to."""

    def file(self, name: str) -> Path:
        return self.folder / name

    def discard(self) -> None:
        """Leaves no trace of a run that never began; what holds files stays."""
        self.release()
        with suppress(OSError):
            (self.folder / "logs").rmdir()
            if self.made:
                self.folder.rmdir()

    def release(self) -> None:
        """Others may write here."""
        for lock in self.locks:
            lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

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
    """Picks, makes and locks the folder. Raises UserError when it can't be written or holds another run."""
    restoring = "checkpoint.restore" in job.given
    while True:
        folder = Path(asked) if asked is not None else _default(job.name, restoring)
        check_path(folder, "--output")
        made = not folder.exists()
        _make(folder, asked)
        try:
            lock = FolderLock.take(folder)
        except Busy as busy:
            if asked is None and not restoring:
                continue  # another run has taken this number in the meantime
            raise UserError(
                f"--output: {folder}: a run is going on there ({busy}); wait for its end, or choose another folder"
            ) from None
        holds = (folder / "job.yaml").exists()
        if restoring or not holds:
            return Output(folder, holds, made, [lock])
        lock.release()
        if asked is not None:
            raise UserError(
                f"--output: {asked} holds a run already; continue it with --set checkpoint.restore=Latest,"
                " or choose another folder"
            )


def check_path(path: Path, field: str) -> None:
    """Paths stand in JSON files, which are UTF-8. Raises UserError for one that can't."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{field}: {os.fsencode(path.absolute())!r} must be a path in UTF-8; if it is one, Python reads it in this"
            " locale as another encoding: set PYTHONUTF8=1"
        ) from None


def _default(name: str, restoring: bool) -> Path:
    """The newest run of this name when restoring, else the next free folder."""
    folder, number = Path("runs") / name, 1
    newest = None
    while folder.exists():
        newest = folder if (folder / "job.yaml").exists() else newest
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    if restoring and newest is not None:
        return newest
    return folder


def _make(folder: Path, asked: str | None) -> None:
    place = f"--output: {asked}" if asked is not None else str(folder)
    try:
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror}") from error
