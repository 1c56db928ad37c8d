"""`asgd validate JOB.yaml`: what the API server would say to a job, without one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from asgd import exitcodes
from asgd.errors import UserError
from asgd.spec import bounds
from asgd.spec.advice import advice
from asgd.spec.load import job_as_written, load_job
from asgd.spec.types import Job


def main(
    paths: Sequence[str], sets: Sequence[str] = (), more: Callable[[Job, Path], list[str]] = lambda job, folder: []
) -> int:  # fmt: skip
    """Check each file: prints `FILE: ok` and warnings, or problems on stderr. Returns 0 or 2.

    `more` has further lines about a job whose file lies in a folder, or raises UserError.
    """
    return max([_validate(path, sets, more) for path in paths], default=exitcodes.DONE)


def _validate(path: str, sets: Sequence[str], more: Callable[[Job, Path], list[str]]) -> int:
    try:
        job = load_job(path, sets)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    try:
        lines = more(job, Path(path).absolute().parent)
    except UserError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return error.exit_code
    applied = bounds.needs_server_side(job_as_written(path))
    for warning in (*advice(job), *filter(None, [applied])):
        print(f"{path}: warning: {warning}", file=sys.stderr)
    print(f"{path}: ok")
    for line in lines:
        print(f"{path}: {line}")
    return exitcodes.DONE
