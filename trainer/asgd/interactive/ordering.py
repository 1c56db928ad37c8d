"""From what a person has given to a checked job and the place of its code: the order to a launcher."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from asgd.errors import UserError
from asgd.host.private import private_folder
from asgd.interactive.fields import Values, document_of, filled_in, values_of
from asgd.interactive.protocol import Order
from asgd.interactive.sending import Entrypoint, entrypoint_of
from asgd.spec import Job, job_of, load_job, with_files
from asgd.spec.environment import Env


def order_of(
    what: Literal["run", "simulate"],
    task_or_job: Any,
    fields: Mapping[str, Any],
    sets: Mapping[str, Any] | None,
    name: str | None,
) -> Order:
    """The job of `asgd.run`'s arguments, checked, and where its code is. Raises UserError."""
    refuse_inside_a_run()
    given = dict(fields)
    from_folder = (
        given.pop("source_from", None) if isinstance(given.get("source_from"), (str, Path)) else None
    )
    values: Values = [] if name is None else [(("metadata", "name"), name)]
    values += values_of(given, sets)
    staging = private_folder()
    try:
        entrypoint = None
        if isinstance(task_or_job, (str, os.PathLike)):
            path = Path(task_or_job)
            job = with_files(load_job(path, values=values), path, from_folder and str(from_folder))
            folder = path.absolute().parent
        elif isinstance(task_or_job, Mapping):
            job, folder = job_of(document_of(task_or_job), values), Path.cwd()
        else:
            entrypoint = _entrypoint(task_or_job, staging)
            values = filled_in(values, getattr(task_or_job, "fields", {}))
            job, folder = job_of(document_of({"entrypoint": entrypoint.text}), values), entrypoint.folder
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    warning = entrypoint.warning if entrypoint else ""
    return _order(what, job, folder, staging, warning)


def _order(what: Literal["run", "simulate"], job: Job, folder: Path, staging: Path, warning: str) -> Order:
    return Order(what, str(staging), job.document, sorted(job.given), job.files, str(folder), warning=warning)


def refuse_inside_a_run() -> None:
    """A module that calls asgd.run() when it is imported would do so in every worker. Raises UserError."""
    if os.environ.get(Env.JOB_FOLDER):
        raise UserError(
            "asgd.run: this is a process of a run, which imports the module that calls it; put the call under"
            ' `if __name__ == "__main__":`'
        )


def _entrypoint(task: Any, staging: Path) -> Entrypoint:
    of_task = type(task).__module__ == "asgd.task" and type(task).__name__ == "Task"
    if not of_task and (not callable(task) or isinstance(task, type)):
        raise UserError(
            f"asgd.run: {task!r:.60} is {_kind(task)}; allowed are a function that returns an asgd.Task, a Task, the"
            " path of a job's YAML, and a mapping with a job or its spec"
        )
    return entrypoint_of(task, staging, Path.cwd())


def _kind(task: Any) -> str:
    return "a class" if isinstance(task, type) else f"of type {type(task).__name__}"
