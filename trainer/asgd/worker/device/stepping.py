"""`Task.optimizer`: any optimizer of PyTorch's kind as a strategy's local rule (`base.LocalRule`).

It steps on the worker's float32 vector, in place: over the model's parameters where they are views of it, else (less
precise ones, stages on several devices, simulated workers) over parameters of its own that are. So what the strategy
sees is the same everywhere. Its own learning rates count; schedule and rollbacks are a factor on them, as LambdaLR has
it. Where a strategy forgets, the optimizer is as it was made.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asgd.algorithms.base import Vector, WorkerStrategy
from asgd.errors import AsgdError, UserError
from asgd.spec.types import JobSpec, Optimizer
from asgd.task import Task
from asgd.worker.device.flat import Flat
from asgd.worker.users_code import sentence

KEPT = ("schedule", "clip_norm")
"""Fields of spec.optimizer that count beside a task's own."""


class TaskOptimizer:
    """`optimizer` over parameters whose memory is the worker's vector, and whose gradients are `gradient` (n,).

    As text `AdamW, lr 0.001`, for people.
    """

    relative = True

    def __init__(self, optimizer: torch.optim.Optimizer, gradient: Vector) -> None:
        self._optimizer, self._gradient = optimizer, gradient
        self._fresh = self._first = copy.deepcopy(optimizer.state_dict())
        self._rates = [copy.deepcopy(group.get("lr")) for group in optimizer.param_groups]
        self._factor = 1.0

    def step(self, w: Vector, g: Vector, rate: float, scratch: Vector) -> None:
        self._first = self._fresh
        if g is not self._gradient:
            self._gradient[:] = g
        if rate != self._factor:
            # NB: only then, for some optimizers move their rate themselves.
            self._set(rate)
        self._optimizer.step()

    def _set(self, factor: float) -> None:
        self._factor = factor
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            if isinstance(rate, Tensor):
                group["lr"].copy_(rate * factor)
            elif rate is not None:
                group["lr"] = rate * factor

    def forget(self) -> None:
        # NB: it takes tensors as they are, and steps change them in place.
        self._optimizer.load_state_dict(copy.deepcopy(self._first))
        self._factor = 1.0

    def state(self) -> dict[str, Any]:
        """All that it remembers, its learning rates without schedule and rollbacks."""
        self._set(1.0)
        return self._optimizer.state_dict()

    def resume(self, state: dict[str, Any]) -> None:
        """Until the first step, to begin anew is to go on from `state`. Raises ValueError where that does not fit."""
        self._optimizer.load_state_dict(copy.deepcopy(state))
        self._first = copy.deepcopy(self._optimizer.state_dict())
        for saved, group, rate in zip(
            self._first["param_groups"], self._optimizer.param_groups, self._rates, strict=True
        ):
            # NB: who edits the rate in the task means the new one.
            if rate is not None:
                saved["lr"], group["lr"] = copy.deepcopy(rate), copy.deepcopy(rate)

    @property
    def name(self) -> str:
        """Its class."""
        return type(self._optimizer).__name__

    def learning_rate(self, rate: float) -> float:
        """That of the first group."""
        first = self._rates[0]
        return rate if first is None else float(first) * rate

    def __str__(self) -> str:
        rates = dict.fromkeys(f"{float(rate):g}" for rate in self._rates if rate is not None)
        return f"{type(self._optimizer).__name__}{', lr ' if rates else ''}{' and '.join(rates)}"


def equip(
    rule: WorkerStrategy, task: Task, spec: JobSpec, flat: Flat, vectors: tuple[Vector, Vector] | None = None
) -> None:
    """`rule` steps by the task's own optimizer, if it has one, on the worker's weights and gradient (n,).

    `vectors`: those of a simulated worker, numpy arrays; `flat`'s own if not given. Raises UserError on what is wrong.
    """
    refuse_optimizer(task, spec, rule)
    if task.optimizer is None:
        return
    weights, gradient = vectors or (flat.weights, flat.grads)
    optimizer = made(task, spec, flat.parameters, shared=vectors is not None)
    adopt(optimizer, flat.parameters, masters(flat, torch.as_tensor(weights), torch.as_tensor(gradient)))
    rule.optimizer = TaskOptimizer(optimizer, gradient)


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


def adopt(
    optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], masters: Sequence[nn.Parameter]
) -> None:
    """From here on the optimizer steps on `masters` in place of the model's `parameters`, with the state it has."""
    place = {id(own): master for own, master in zip(parameters, masters, strict=True)}
    for group in optimizer.param_groups:
        group["params"] = [place.get(id(p), p) for p in group["params"]]
    for own, master in zip(parameters, masters, strict=True):
        if own is not master and own in optimizer.state:
            state = optimizer.state.pop(own)
            optimizer.state[master] = {key: _precise(value, own) for key, value in state.items()}


def _precise(value: Any, of: Tensor) -> Any:
    """A state of a parameter's shape in float32."""
    like = isinstance(value, Tensor) and value.shape == of.shape and value.dtype == of.dtype
    return value.float() if like else value


def masters(flat: Flat, weights: Tensor, gradient: Tensor) -> list[nn.Parameter]:
    """Parameters in the order of `flat` whose memory is `weights`, and whose gradients are `gradient`."""
    found: list[nn.Parameter] = []
    for parameter, span in zip(flat.parameters, flat.spans, strict=True):
        master = parameter
        if parameter.data_ptr() != weights[span].data_ptr() or parameter.dtype != torch.float32:
            master = nn.Parameter(weights[span].view(parameter.shape), requires_grad=parameter.requires_grad)
            master.grad = gradient[span].view(parameter.shape)
        found.append(master)
    return found


def refuse_optimizer(task: Task, spec: JobSpec, rule: WorkerStrategy) -> None:
    """Raises UserError where a task has an optimizer of its own, and the job can't step by it."""
    if task.optimizer is None:
        return
    algorithm = str(spec.algorithm["name"])
    if rule.optimizer is None:
        why = f"its step is {rule.own_rule}" if rule.own_rule else "it sends gradients, which servers apply"
        delta = "algorithm.mode: delta or exchange.pushEvery above 1" if algorithm == "asgd" else ""
        ways = delta or "an algorithm with local steps (asgd with mode: delta, local-sgd, diloco)"
        raise UserError(
            f"spec.algorithm.name: {algorithm} can't step by Task.optimizer, for {why}; allowed: {ways}, or"
            " spec.optimizer in the place of Task.optimizer"
        )
    plain = Optimizer()
    for field in Optimizer.__struct_fields__:
        value = getattr(spec.optimizer, field)
        if field not in KEPT and value != getattr(plain, field):
            name = Optimizer.__struct_encode_fields__[Optimizer.__struct_fields__.index(field)]
            shown = f": {value}" if isinstance(value, str | float | bool) else ""
            raise UserError(
                f"spec.optimizer.{name}{shown} stands beside Task.optimizer, whose own settings count; allowed"
                " beside it: schedule, a factor on its learning rate, and clipNorm"
            )
