"""The face that a connected model shows to schedulers, scalers and scripts: PyTorch's optimizer, without steps.

Where the script has handed its own over, groups and state are that one's. Else the job file sets the rate and the rule,
so what is written into `param_groups` is overwritten after each step, with one warning; schedulers that look for
momentum or betas (OneCycleLR, CyclicLR) find the job's.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from asgd.errors import UserError
from asgd.spec.groups import assigned, kinds, multiple
from asgd.spec.optimizers import FIELDS
from asgd.spec.types import Optimizer
from asgd.worker.device.flat import Flat, Share, plain
from asgd.worker.optimizing.handed import Handed


class Groups(torch.optim.Optimizer):
    """`param_groups` over the trained parameters of `model`, as the job's optimizer has them, or `handed`'s.

    `name` and `number`: of the model, where the script has several.
    """

    def __init__(
        self, optimizer: Optimizer, model: nn.Module, flat: Flat | Share, handed: Handed | None = None,
        name: str = "", number: int = 0,
    ) -> None:  # fmt: skip
        self._handed: Handed | None = None
        self.name, self.number, self.rule_name = name, number, optimizer.name
        self._rate = optimizer.learning_rate
        self._kinds = [_settings(own) for own in kinds(optimizer)]
        """{name: value} but for the rate: the optimizer's own, then each of `optimizer.groups`."""
        self._multiples = [multiple(optimizer, number) for number in range(-1, len(optimizer.groups))]
        numbers = assigned(optimizer, [name for name, _ in flat.layout])
        self._kind = {id(p): 1 + number for p, number in zip(flat.parameters, numbers, strict=True)}
        self._rates_warned = False
        self._trained = {id(parameter) for parameter in flat.parameters}
        self._names = {id(parameter): plain(name) for name, parameter in model.named_parameters()}
        members = [
            [p for p in flat.parameters if self._kind[id(p)] == kind] for kind in range(len(self._kinds))
        ]
        given = [{"params": own, **self._held(own)} for own in (*members[1:], members[0]) if own]
        super().__init__(given, self._held(members[0]))
        self._handed = handed
        self._share()

    @property
    def moves(self) -> bool:
        """Whether the servers move a parameter whose gradient is 0."""
        if self._handed is not None and not self._handed.on_servers:
            return False
        return self.rule_name != "sgd" or any(own["momentum"] or own["weight_decay"] for own in self._kinds)

    def _held(self, parameters: list[Any]) -> dict[str, Any]:
        """What the job has for a group of these parameters now; that of the first one."""
        kind = self._kind[id(parameters[0])] if parameters else 0
        return {"lr": self._rate * self._multiples[kind], **self._kinds[kind]}

    def _share(self) -> None:
        """NB: what loads a state into an optimizer gives it other lists."""
        if self._handed is not None:
            own = self._handed.optimizer
            self.param_groups, self.state, self.defaults = own.param_groups, own.state, own.defaults

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Rates and the like; momentum too where this worker steps by itself, and not where the servers keep it."""
        if self._handed is None:
            super().load_state_dict(state_dict)
            return
        if self._handed.on_servers and state_dict.get("state"):
            warnings.warn(
                f"load_state_dict: the groups of {self._handed.rule.kind} are loaded, and its state (momentum) is not,"
                " for the servers keep it; it comes back with the job's checkpoint",
                stacklevel=2,
            )
            state_dict = {**state_dict, "state": {}}
        self._handed.optimizer.load_state_dict(state_dict)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Parameters that are trained here already move into a group of their own, for scripts that look for it.

        Raises UserError when one is frozen since `asgd.connect`, or not of the model.
        """
        if self._handed is not None:
            raise UserError(
                f"add_param_group: all workers have agreed on the groups of {self._handed.rule.kind} in"
                " asgd.connect(model, optimizer); add it before, with lr=0 for what is trained later"
            )
        given = param_group["params"]
        given = [given] if isinstance(given, torch.Tensor) else list(given)
        for number, parameter in enumerate(given):
            if id(parameter) not in self._trained:
                raise self._foreign(number, parameter)
        moved = {id(parameter) for parameter in given}
        for group in self.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in moved]
        super().add_param_group({**param_group, "params": given})

    def _foreign(self, number: int, parameter: Any) -> UserError:
        name = self._names.get(id(parameter))
        if name is None:
            shape = list(getattr(parameter, "shape", []))
            return UserError(
                f"add_param_group: params[{number}], of shape {shape}, is no parameter of the model that"
                " asgd.connect(model) was given, and a worker trains that model only; make it a part of it before"
            )
        return UserError(
            f"add_param_group: parameter {name} was frozen when asgd.connect(model) was called; name it there:"
            f' asgd.connect(model, unfreezes=["{name.rpartition(".")[0] or name}*"])'
        )

    def _look_at_rate(self) -> None:
        if (
            self._handed is not None
            or self._rates_warned
            or all(
                group.get(name) == value
                for group in self.param_groups
                for name, value in self._held(group["params"]).items()
            )
        ):
            return
        self._rates_warned = True
        warnings.warn(
            "the script changed the learning rate of asgd.connect()'s optimizer, which has no effect: the job file"
            " sets it (spec.optimizer.learningRate and spec.optimizer.schedule)",
            stacklevel=4,
        )

    def _show_rate(self, rate: float) -> None:
        if self._handed is not None:
            self._share()
            return
        self._rate = rate
        for group in self.param_groups:
            group.update(self._held(group["params"]))


def _settings(own: Optimizer) -> dict[str, Any]:
    found: dict[str, Any] = {"momentum": own.momentum, "weight_decay": own.weight_decay}
    return found | ({"betas": own.betas} if "betas" in FIELDS[own.name] else {})
