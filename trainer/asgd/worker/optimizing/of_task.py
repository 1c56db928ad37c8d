"""`Task.optimizer` in a job: servers that apply gradients run its rule where they have it; else it steps in the worker.

What the servers are to run is brought by the first worker, as a script's is (`asgd.connect(model, optimizer)`): servers
never run users' code. A strategy whose workers step by themselves is given the optimizer as it is.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from asgd.algorithms.base import Vector, WorkerStrategy
from asgd.algorithms.registry import halves
from asgd.errors import AsgdError, UserError
from asgd.spec.types import JobSpec, Optimizer
from asgd.task import Task
from asgd.wire.rule import Rule, Rules, pack, unpack
from asgd.worker.device.flat import Flat, trainable
from asgd.worker.optimizing.following import Following
from asgd.worker.optimizing.handed import Handed, left_out
from asgd.worker.optimizing.placing import TASK, place
from asgd.worker.optimizing.rules import Group, groups_of
from asgd.worker.optimizing.rules import told as as_told
from asgd.worker.optimizing.schedules import schedules_of
from asgd.worker.optimizing.stepping import TaskOptimizer, adopt, masters
from asgd.worker.reading.data import dataset_size
from asgd.worker.users_code import sentence

KEPT = ("schedule", "clip_norm")
"""Fields of spec.optimizer that count beside a task's own."""


def rule_of(task: Task, spec: JobSpec, document: Mapping[str, Any] | None = None) -> bytes:
    """What the first worker of the job brings (`Hello.rule`); empty where the strategy's own local step takes it.

    `document`: the job's, to be checked again where its mode is another then. Raises UserError where the job can't
    train by the task's optimizer.
    """
    if task.optimizer is None:
        if task.schedulers is not None:
            raise UserError(
                f"spec.entrypoint: {spec.entrypoint}: Task.schedulers move Task.optimizer, and there is none; allowed:"
                " both, or spec.optimizer.schedule"
            )
        return b""
    rule = halves(spec).worker()
    if rule.own_rule:
        raise UserError(
            f"spec.algorithm.name: {spec.algorithm['name']} can't step by Task.optimizer, for its step is"
            f" {rule.own_rule}; allowed: an algorithm that takes any optimizer (asgd, sync, local-sgd, diloco), or"
            " spec.optimizer in the place of Task.optimizer"
        )
    _refuse_beside(task, spec)
    if rule.optimizer is not None:
        return b""
    named = trainable(task.model)
    optimizer = made(task, spec, [parameter for _, parameter in named], shared=True)
    schedules_of(task, optimizer, spec.entrypoint)
    return pack(_placed(task, spec, optimizer, {id(p): name for name, p in named}, document).rule)


def _placed(
    task: Task, spec: JobSpec, optimizer: torch.optim.Optimizer, trained: Mapping[int, str],
    document: Mapping[str, Any] | None = None,
) -> Handed:  # fmt: skip
    """`optimizer` in the job of `spec`; `trained`: {id(parameter): name}."""
    groups = groups_of(optimizer, task.model, trained, f"spec.entrypoint: {spec.entrypoint}: Task.optimizer")
    rule = place(spec, optimizer, groups, left_out(groups, trained), document=document, whose=TASK)
    return Handed(optimizer, groups, rule)


def equip(
    rule: WorkerStrategy, task: Task, spec: JobSpec, flat: Flat, vectors: tuple[Vector, Vector] | None = None,
    *, brought: bytes = b"",
) -> Following | None:  # fmt: skip
    """`rule` steps by the task's own optimizer, if it has one, on the worker's weights and gradient (n,).

    `spec`: as it is with `brought`, what the servers were told (`rule_of`). `vectors`: those of a simulated worker,
    numpy arrays; `flat`'s own if not given. Returns who moves the optimizer's figures while it trains; None where
    nothing moves. Raises UserError on what is wrong.
    """
    if task.optimizer is None:
        return None
    told = unpack(brought)
    assert not isinstance(told, Rules), "a task has one model"
    on_servers = told is not None and told.optimizer is not None
    weights, gradient = vectors or (flat.weights, flat.grads)
    optimizer = made(task, spec, flat.parameters, shared=vectors is not None or on_servers)
    schedules = schedules_of(task, optimizer, spec.entrypoint)
    if told is not None and on_servers:
        if not schedules:
            return None
        handed = _as_brought(task, told, optimizer, flat, spec.entrypoint)
        return Following(schedules, dataset_size(task, spec.entrypoint), spec.batch_size, handed)
    if told is None:
        _refuse_beside(task, spec)
    refuse_optimizer(task, spec, rule)
    groups = as_told(_groups(task, optimizer, flat, spec.entrypoint))
    adopt(optimizer, flat.parameters, masters(flat, torch.as_tensor(weights), torch.as_tensor(gradient)))
    rule.optimizer = TaskOptimizer(optimizer, gradient, scheduled=bool(schedules), groups=groups)
    if not schedules:
        return None
    return Following(schedules, dataset_size(task, spec.entrypoint), spec.batch_size)


def _as_brought(
    task: Task, told: Rule, optimizer: torch.optim.Optimizer, flat: Flat, entrypoint: str
) -> Handed:
    return Handed(optimizer, _groups(task, optimizer, flat, entrypoint), told)


def _groups(task: Task, optimizer: torch.optim.Optimizer, flat: Flat, entrypoint: str) -> list[Group]:
    """Those of an optimizer over the model's own parameters, less what is not trained."""
    trained = {id(p): name for p, (name, _) in zip(flat.parameters, flat.layout, strict=True)}
    return groups_of(optimizer, task.model, trained, f"spec.entrypoint: {entrypoint}: Task.optimizer")


def made(
    task: Task, spec: JobSpec, parameters: list[nn.Parameter], *, shared: bool = False
) -> torch.optim.Optimizer:
    """The optimizer over the model's own `parameters`; `shared`: a copy, where the task holds one. Raises UserError."""
    given, place = task.optimizer, f"spec.entrypoint: {spec.entrypoint}: Task.optimizer"
    optimizer: Any = given
    if isinstance(given, torch.optim.Optimizer):
        optimizer = copy.deepcopy(given, {id(p): p for p in parameters}) if shared else given
    elif callable(given):
        try:
            optimizer = given(list(parameters))
        except AsgdError:
            raise
        except (Exception, SystemExit) as error:
            # Whatever users' code raises is theirs to mend.
            raise UserError(f"{place} failed: {sentence(error)}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        what = f"{'returned ' if callable(given) else 'is '}{type(optimizer).__name__}"
        raise UserError(
            f"{place} {what}; allowed: a torch.optim.Optimizer, or a function of the model's parameters that returns"
            " one, as lambda params: torch.optim.AdamW(params)"
        )
    _check(optimizer, place, parameters, task.model)
    return optimizer


def _check(
    optimizer: torch.optim.Optimizer, place: str, parameters: Sequence[nn.Parameter], model: nn.Module
) -> None:
    name = type(optimizer).__name__
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(
            f"{place}: {name}.step needs a closure, and a batch's gradient is computed once; allowed: an optimizer"
            " whose step() needs none"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held - {id(p) for p in model.parameters()}:
        raise UserError(
            f"{place}: {name} holds a tensor that is no parameter of Task.model; allowed: only those"
        )
    if not held & {id(p) for p in parameters}:
        raise UserError(
            f"{place}: {name} holds no trained parameter of Task.model; allowed: at least one with requires_grad"
        )


def refuse_optimizer(task: Task, spec: JobSpec, rule: WorkerStrategy) -> None:
    """Raises UserError where a task has an optimizer of its own, and no worker steps by it."""
    if task.optimizer is not None and rule.optimizer is None:
        raise UserError(
            f"spec.algorithm.name: {spec.algorithm['name']} can't step by Task.optimizer in workers; allowed: an"
            " algorithm with local steps (asgd with mode: delta, local-sgd, diloco)"
        )


def _refuse_beside(task: Task, spec: JobSpec) -> None:
    """Raises UserError for fields of spec.optimizer that would not count."""
    plain = Optimizer()
    for field in Optimizer.__struct_fields__:
        value = getattr(spec.optimizer, field)
        if value == getattr(plain, field):
            continue
        name = Optimizer.__struct_encode_fields__[Optimizer.__struct_fields__.index(field)]
        if field == "schedule" and task.schedulers is not None:
            raise UserError(
                "spec.optimizer.schedule stands beside Task.schedulers, and both move the learning rate; allowed: one"
                " of them"
            )
        if field not in KEPT:
            shown = f": {value}" if isinstance(value, str | float | bool) else ""
            raise UserError(
                f"spec.optimizer.{name}{shown} stands beside Task.optimizer, whose own settings count; allowed"
                " beside it: schedule, a factor on its learning rate, and clipNorm"
            )
