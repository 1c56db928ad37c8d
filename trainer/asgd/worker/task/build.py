"""From `spec.entrypoint` to a `Task`: calls the user's code and says in one sentence what is wrong with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec
from torch import nn

from asgd.errors import AsgdError, UserError
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker import scalars
from asgd.worker.device.randomness import seed_everything
from asgd.worker.task.calling import check_callbacks
from asgd.worker.task.entrypoint import load_entrypoint
from asgd.worker.users_code import sentence


def build_task(spec: JobSpec) -> Task:
    """Calls the entrypoint under the job's seed. Raises UserError naming entrypoint, and what is wrong with it."""
    function = load_entrypoint(spec)
    _check_args(function, spec)
    seed_everything(spec.seed)
    try:
        task = function(**spec.args)
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever users' code raises while it builds a task is theirs to mend; the sentence says where.
        raise UserError(f"spec.entrypoint: {spec.entrypoint} failed: {sentence(error)}") from error
    if not isinstance(task, Task):
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint} returned {type(task).__name__}; it must return an asgd.Task"
        )
    if not isinstance(task.model, nn.Module):
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint}: Task.model is {type(task.model).__name__}; allowed: a torch.nn.Module"
        )
    check_callbacks(task.callbacks, spec.entrypoint)
    _check_fields(task, spec)
    task.loss = scalars.plain(task.loss)
    return task


def _check_fields(task: Task, spec: JobSpec) -> None:
    """The job is the one that the task is made for. When it stops may be said otherwise, and changed while it runs."""
    known = msgspec.to_builtins(spec)
    for path, wanted in task.fields.items():
        found: Any = known
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        if found != wanted and not path.startswith("stopAfter."):
            raise UserError(
                f"spec.{path}: {found}, and the task of {spec.entrypoint} is made for {wanted}; allowed: {wanted},"
                " which asgd.run(task) fills in by itself"
            )


def _check_args(function: Callable[..., Any], spec: JobSpec) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a builtin without a signature: the call itself will tell
    try:
        signature.bind(**spec.args)
    except TypeError as error:
        raise UserError(f"spec.args: {error}; {spec.entrypoint} takes {_parameters(signature)}") from error


def _parameters(signature: inspect.Signature) -> str:
    return ", ".join(signature.parameters) or "no arguments"
