"""`Task.optimizer`: any optimizer of PyTorch's kind as a strategy's local rule (`base.LocalRule`).

It steps on the worker's float32 vector, in place: over the model's parameters where they are views of it, else (less
precise ones, stages on several devices, simulated workers) over parameters of its own that are. So what the strategy
sees is the same everywhere. Its own learning rates count; schedule and rollbacks are a factor on them, as LambdaLR has
it. Where a strategy forgets, the optimizer is as it was made.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asgd.algorithms.base import Vector
from asgd.worker.device.flat import Flat


class TaskOptimizer:
    """`optimizer` over parameters whose memory is the worker's vector, and whose gradients are `gradient` (n,).

    `scheduled`: schedulers of its own move its figures, which stay as they leave them; `groups`: as `Rule.groups`. As
    text `AdamW, lr 0.001`, for people.
    """

    relative = True

    def __init__(
        self, optimizer: torch.optim.Optimizer, gradient: Vector, *, scheduled: bool = False,
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> None:  # fmt: skip
        self._optimizer, self._gradient, self._scheduled = optimizer, gradient, scheduled
        self.groups = groups
        self._fresh = self._first = copy.deepcopy(optimizer.state_dict())
        self._rates = [copy.deepcopy(group.get("lr")) for group in optimizer.param_groups]
        self._factor = 1.0

    def step(self, w: Vector, g: Vector, rate: float, scratch: Vector) -> None:
        self._first = self._fresh
        if g is not self._gradient:
            self._gradient[:] = g
        if self._scheduled:
            self._step_scheduled(rate)
            return
        if rate != self._factor:
            # NB: only then, for some optimizers move their rate themselves.
            self._set(rate)
        self._optimizer.step()

    def _step_scheduled(self, factor: float) -> None:
        """By the rates that the schedulers have left, times `factor`; they find them as they were."""
        self._rates = [copy.deepcopy(group.get("lr")) for group in self._optimizer.param_groups]
        self._set(factor)
        self._optimizer.step()
        self._set(1.0)

    def _set(self, factor: float) -> None:
        self._factor = factor
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            if isinstance(rate, Tensor):
                group["lr"].copy_(rate * factor)
            elif rate is not None:
                group["lr"] = rate * factor

    def forget(self) -> None:
        # NB: it takes tensors as they are, and steps change them in place.
        self._load(self._first)
        self._factor = 1.0

    def _load(self, state: dict[str, Any]) -> None:
        """NB: what schedulers have made of the groups is theirs."""
        groups = self._optimizer.state_dict()["param_groups"] if self._scheduled else state["param_groups"]
        self._optimizer.load_state_dict(copy.deepcopy({**state, "param_groups": groups}))

    def state(self) -> dict[str, Any]:
        """All that it remembers, its learning rates without schedule and rollbacks."""
        if not self._scheduled:
            self._set(1.0)
        return self._optimizer.state_dict()

    def resume(self, state: dict[str, Any]) -> None:
        """Until the first step, to begin anew is to go on from `state`. Raises ValueError where that does not fit."""
        self._load(state)
        self._first = copy.deepcopy(self._optimizer.state_dict())
        if self._scheduled:
            return
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
        first = self._optimizer.param_groups[0].get("lr") if self._scheduled else self._rates[0]
        return rate if first is None else float(first) * rate

    def __str__(self) -> str:
        rates = dict.fromkeys(f"{float(rate):g}" for rate in self._rates if rate is not None)
        return f"{type(self._optimizer).__name__}{', lr ' if rates else ''}{' and '.join(rates)}"


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
