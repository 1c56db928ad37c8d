"""page.html: the page of a run as one file that needs nothing else, for who was not there and has no server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asgd import exitcodes
from asgd.errors import UserError
from asgd.page.html import document
from asgd.page.past import state_of
from asgd.report.files import write_atomic

NAME = "page.html"


def run(folders: Sequence[str], output: str) -> int:
    """Of a single run of `folders`, into `output`; returns the exit code. Raises UserError."""
    if len({Path(folder).resolve() for folder in folders}) == 1:
        print(f"page       {write(Path(folders[0]), Path(output))}: the run's own page, as one file")
    return exitcodes.DONE


def write(run: Path, folder: Path) -> Path:
    """Writes the page of the run in `run` into `folder`; returns where it is. Raises UserError."""
    text = document(f"{run.name} · asgd", {"state": state_of(run)})
    try:
        write_atomic(folder / NAME, text.encode())
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be written: {error.strerror}") from error
    return folder / NAME
