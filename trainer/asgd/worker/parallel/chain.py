"""A task's model as a chain of layers that can be cut: the children of an nn.Sequential, or the user's `Task.stages`.

Each trained parameter must belong to one layer, else cutting would leave it out or share it between devices. Layers
that share a parameter or buffer are never cut apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from torch import nn

from asgd.errors import UserError
from asgd.task import Task
from asgd.worker.device.flat import plain


@dataclass(frozen=True)
class Chain:
    """`layers` applied one after the other are the model; `allowed[i]`: a stage may begin at layer i."""

    layers: list[nn.Module]
    allowed: list[bool]

    @property
    def most(self) -> int:
        """Stages that can be made of it."""
        return 1 + sum(self.allowed[1:])


def chain_of(task: Task, asked: str) -> Chain:
    """The chain of `task`. `asked` names field and value for what UserError says of models that have none."""
    if task.stages is not None:
        layers = list(task.stages)
        if unfit := [type(layer).__name__ for layer in layers if not isinstance(layer, nn.Module)]:
            raise UserError(f"Task.stages: a {unfit[0]} is no stage; allowed: torch.nn.Modules")
        if not layers:
            raise UserError("Task.stages: no stage given; at least 1 is needed")
    elif _is_sequence(task.model):
        layers = _flatten(task.model)
    else:
        raise UserError(
            f"{asked}, but Task.model is a {type(task.model).__name__}, which cannot be cut by itself; allowed: 1, or a"
            " plain nn.Sequential, or Task.stages: the modules that make up its forward, one after the other"
        )
    _check_owners(task.model, layers)
    return Chain(layers, _between(layers))


def _is_sequence(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Calls its children in order and does nothing else: no forward of its own, no hooks."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        return False
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    )  # fmt: skip
    return len(module) > 0 and not any(hooks)


def _flatten(module: nn.Module) -> list[nn.Module]:
    if not _is_sequence(module):
        return [module]
    # NB: iterating a Sequential gives a module as often as it is called; `children` would give it once.
    return [layer for child in module for layer in _flatten(child)]


def _check_owners(model: nn.Module, layers: Sequence[nn.Module]) -> None:
    trained = {id(p): plain(name) for name, p in model.named_parameters() if p.requires_grad}
    held = {
        id(p): f"{type(layer).__name__} has {name}"
        for layer in layers
        for name, p in layer.named_parameters()
        if p.requires_grad
    }
    if left_out := [name for key, name in trained.items() if key not in held]:
        raise UserError(
            f"Task.stages: the model's parameter {left_out[0]} is in no stage; each stage's modules and parameters"
            " must be the model's own, and together all of them"
        )
    if strange := [name for key, name in held.items() if key not in trained]:
        raise UserError(
            f"Task.stages: {strange[0]}, which is no parameter of Task.model and would not be trained"
        )


def _between(layers: Sequence[nn.Module]) -> list[bool]:
    """For each layer whether a stage may begin there: no tensor is held on both sides."""
    last: dict[int, int] = {}
    for number, layer in enumerate(layers):
        for tensor in (*layer.parameters(), *layer.buffers()):
            last[id(tensor)] = number
    allowed, reach = [], -1
    for number, layer in enumerate(layers):
        allowed.append(reach < number)
        reach = max([reach, *(last[id(t)] for t in (*layer.parameters(), *layer.buffers()))])
    return allowed
