"""Runs the user's `evaluate`: what it raises becomes one sentence with the user's own line."""

from __future__ import annotations

import torch

from asgd.errors import AsgdError, UserError
from asgd.task import Task
from asgd.worker.device.modes import evaluating
from asgd.worker.users_code import sentence


def measured(task: Task) -> dict[str, float]:
    """What the task's `evaluate` says of its model as it is; nothing if it has none. Raises UserError if it fails."""
    if task.evaluate is None:
        return {}
    try:
        with evaluating(task.model), torch.no_grad():
            return {str(name): float(value) for name, value in task.evaluate(task.model).items()}
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever users' code raises is theirs to mend.
        raise UserError(f"evaluate raised {sentence(error)}") from error
