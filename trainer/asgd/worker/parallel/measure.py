"""What each layer of a chain costs, from one small batch: floating-point operations and values handed over.

Both are counted, not timed, so that every worker finds the same cuts. The batch goes through the chain in evaluation
mode, without gradients, and leaves model and random numbers as they were. It also shows early what a pipeline would
stumble over: a loss that does more than call the model, stages that are not the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from asgd.errors import AsgdError, UserError
from asgd.task import Task
from asgd.worker.parallel.conversation import Asked, Stand
from asgd.worker.reading.nested import Array, map_arrays
from asgd.worker.users_code import sentence


@dataclass
class Costs:
    """One figure a layer: floating-point operations of a forward pass, and how many values the layer is given."""

    operations: list[float] = field(default_factory=list)
    given: list[float] = field(default_factory=list)
    loss: float = 0.0


def measure(task: Task, layers: Sequence[nn.Module], batch: Any) -> Costs:
    """Runs `batch` through the layers. Raises UserError when loss or layers cannot do that."""
    costs = Costs()

    def answer(asked: Asked) -> Any:
        values: Any = None
        for number, layer in enumerate(layers):
            costs.given.append(_count(values) if number else _count((asked.arguments, dict(asked.keywords))))
            with FlopCounterMode(display=False) as counter:
                values = layer(values) if number else layer(*asked.arguments, **asked.keywords)
            costs.operations.append(float(counter.get_total_flops()))
        return values

    stand = Stand(answer)
    with undisturbed(task.model, *layers):
        costs.loss = _loss(task, stand, batch)
    stand.check()
    return costs


def check_same(task: Task, costs: Costs, batch: Any) -> None:
    """The model itself must give the loss that its stages gave. Raises UserError."""
    with undisturbed(task.model):
        whole = _loss(task, task.model, batch)
    if not abs(whole - costs.loss) <= 1e-3 * abs(whole) + 1e-6:
        raise UserError(
            f"Task.stages: one after the other they give a loss of {costs.loss:.6g} where the model gives {whole:.6g};"
            " they must compute what the model's forward computes"
        )


def _loss(task: Task, model: Any, batch: Any) -> float:
    try:
        return float(task.loss(model, batch))
    except AsgdError:
        raise
    except Exception as error:
        # Users' code may raise anything.
        raise UserError(
            f"spec.workers.stages: a batch through the stages failed: {sentence(error)}"
        ) from error


def _count(values: Any) -> float:
    total = 0

    def note(array: Array) -> Array:
        nonlocal total
        total += array.numel() if isinstance(array, torch.Tensor) else array.size
        return array

    map_arrays(values, note)
    return float(total)


@contextmanager
def undisturbed(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; modes and random numbers are put back.

    NB: modules that a user wraps around parts of the model have modes of their own.
    """
    modes = {module: module.training for model in models for module in model.modules()}
    state = torch.default_generator.get_state()
    for module in modes:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        torch.default_generator.set_state(state)
