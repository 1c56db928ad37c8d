"""Whole files or none: a reader of summary.json or curves.png never sees half of one, even after a kill."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from asgd.host.files import sync_folder


def write_atomic(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one step (a sibling temporary file, synced, then renamed). Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            # mkstemp makes the file private; the result should be as readable as any other file of the run.
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
