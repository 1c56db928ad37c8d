"""Code without a file goes with its run: the run's folder alone is enough to replay it, or to run it again."""

from __future__ import annotations

import shutil
from pathlib import Path

from asgd.errors import UserError
from asgd.worker.task.sent import FILE, PICKLE


def keep(entrypoint: str, folder: Path, output: Path) -> Path:
    """Copies what was sent by value from the job's `folder` into `output`; returns where the code lies from then on.

    Any other entrypoint's code stays where it is. Raises UserError where it can't be written.
    """
    if entrypoint.partition(":")[0] != FILE or not (folder / FILE).is_file():
        return folder
    if folder.resolve() == output.resolve():
        return output
    for name in (PICKLE, FILE):
        try:
            partial = output / f"{name}.partial"
            shutil.copyfile(folder / name, partial)
            partial.replace(output / name)
        except OSError as error:
            raise UserError(f"--output: {output / name} cannot be written: {error.strerror}") from error
    return output
