"""A script's own optimizer as a rule of the servers, where they have one that takes the same steps.

By exact class: a subclass may step otherwise. Options that have no counterpart, and groups that differ in what groups
of a job can't, leave the steps to the worker; options that only say how PyTorch computes (`foreach`, `fused`, ...) do
not count. Pure: it looks at an optimizer and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from msgspec import structs
from torch import Tensor, nn

from asgd.algorithms.followed import FIGURES, base_rate, figures_of
from asgd.errors import UserError
from asgd.spec.types import Group as SpecGroup
from asgd.spec.types import Optimizer
from asgd.wire.rule import RULES

IGNORED = frozenset({"foreach", "fused", "capturable", "differentiable"})
CLOSURES = "its steps compute the loss several times"
SPARSE = "its steps want sparse gradients"


@dataclass(frozen=True, slots=True)
class Counterpart:
    """What the servers call a class of `torch.optim`."""

    name: str
    fields: Mapping[str, str]
    """{PyTorch's option: field of `spec.optimizer`}"""
    only: Mapping[str, Any] = field(default_factory=dict)
    """{option without a field: its one value that the servers' rule means}"""


_COMMON = {"lr": "learning_rate", "weight_decay": "weight_decay"}
_ADAM = _COMMON | {"betas": "betas", "eps": "epsilon"}
_PLAIN = {"maximize": False}
COUNTERPARTS: dict[type[torch.optim.Optimizer], Counterpart] = {
    torch.optim.SGD: Counterpart(
        "sgd", _COMMON | {"momentum": "momentum", "nesterov": "nesterov"}, _PLAIN | {"dampening": 0}
    ),
    torch.optim.Adagrad: Counterpart(
        "adagrad", _COMMON | {"eps": "epsilon"}, _PLAIN | {"lr_decay": 0, "initial_accumulator_value": 0}
    ),
    torch.optim.Adam: Counterpart(
        "adam", _ADAM, _PLAIN | {"amsgrad": False, "decoupled_weight_decay": False}
    ),
    torch.optim.AdamW: Counterpart(
        "adamw", _ADAM, _PLAIN | {"amsgrad": False, "decoupled_weight_decay": True}
    ),
    torch.optim.RMSprop: Counterpart(
        "rmsprop",
        _COMMON | {"alpha": "alpha", "eps": "epsilon", "momentum": "momentum", "centered": "centered"},
        _PLAIN,
    ),
    torch.optim.Adadelta: Counterpart("adadelta", _COMMON | {"rho": "rho", "eps": "epsilon"}, _PLAIN),
}
ALIKE = ("alpha", "rho", "centered")
"""Fields of the servers' rules that no group has of its own."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group of a script's optimizer: what of it is trained."""

    number: int
    """Among the optimizer's `param_groups`."""
    options: Mapping[str, Any]
    parameters: list[str]
    """Names, in the order of the group."""


def groups_of(
    optimizer: torch.optim.Optimizer, model: nn.Module, trained: Mapping[int, str],
    source: str = "asgd.connect(model, optimizer)",
) -> list[Group]:  # fmt: skip
    """The optimizer's groups, less what is not trained; `trained`: {id(parameter): name}; `source`: where it came from.

    Raises UserError when it holds a tensor that is no parameter of the model, or none that is trained.
    """
    known = {id(parameter) for parameter in model.parameters()}
    kind, found = type(optimizer).__name__, []
    for number, group in enumerate(optimizer.param_groups):
        for place, parameter in enumerate(group["params"]):
            if id(parameter) not in known:
                raise UserError(
                    f"{source}: {kind}'s param_groups[{number}]['params'][{place}], of shape"
                    f" {list(parameter.shape)}, is no parameter of the model; make it a part of the model, or take it"
                    " out of the optimizer"
                )
        names = [trained[id(parameter)] for parameter in group["params"] if id(parameter) in trained]
        if names:
            options = {name: group.get(name) for name in optimizer.defaults if name not in IGNORED}
            # NB: a scheduler that was built before has moved the rate, and a script that is run again may do so later.
            options |= {"lr": group["initial_lr"]} if "initial_lr" in group else {}
            found.append(Group(number, options, names))
    if not found:
        raise UserError(
            f"{source}: {kind} holds no parameter that is trained; allowed: at least one with requires_grad"
        )
    return found


def unfit(optimizer: torch.optim.Optimizer) -> str:
    """Why an optimizer can't be used at all; '' when it can."""
    if isinstance(optimizer, torch.optim.LBFGS):
        return CLOSURES
    return SPARSE if isinstance(optimizer, torch.optim.SparseAdam) else ""


def without_rule(optimizer: torch.optim.Optimizer, groups: Sequence[Group]) -> str:
    """Why the servers can't take this optimizer's steps; '' when they can."""
    kind = type(optimizer).__name__
    counterpart = COUNTERPARTS.get(type(optimizer))
    if counterpart is None or counterpart.name not in RULES:
        return f"the servers have no rule for {kind}"
    for group in groups:
        for name, value in group.options.items():
            if name in counterpart.only and value != counterpart.only[name]:
                return f"the servers have no {kind} with {name}={value}"
            if name not in counterpart.only and name not in counterpart.fields:
                return f"the servers know no option {name} of {kind}"
            if counterpart.fields.get(name) in ALIKE and value != groups[0].options[name]:
                return f"the servers' groups have one {name} for all"
    return ""


def with_groups(
    optimizer: torch.optim.Optimizer, groups: Sequence[Group], left_out: Sequence[str]
) -> Optimizer:
    """The servers' optimizer with all groups; `left_out`: parameters that are in none, and stay as they are."""
    each = [as_rule(optimizer, group) for group in groups]
    if len(groups) == 1 and not left_out:
        return each[0]
    fields = [name for name in SpecGroup.__struct_fields__ if name != "match"]
    found = [
        SpecGroup(match=_patterns(group.parameters), **{name: getattr(own, name) for name in fields})
        for group, own in zip(groups, each, strict=True)
    ]
    if left_out:
        found.append(SpecGroup(match=_patterns(left_out), learning_rate=0.0, weight_decay=0.0))
    rate = base_rate(own.learning_rate for own in each)
    return structs.replace(each[0], learning_rate=rate, groups=tuple(found))


def _patterns(names: Sequence[str]) -> tuple[str, ...]:
    """Each matches one name."""
    return tuple(re.sub(r"([*?[])", r"[\1]", name) for name in names)


def as_rule(optimizer: torch.optim.Optimizer, group: Group) -> Optimizer:
    """The servers' optimizer with the options of one group; only where `without_rule` finds nothing."""
    counterpart = COUNTERPARTS[type(optimizer)]
    values = {ours: _number(group.options[theirs]) for theirs, ours in counterpart.fields.items()}
    return Optimizer(name=counterpart.name, **values)


def figures(optimizer: torch.optim.Optimizer, group: Group) -> dict[str, float]:
    """What may move of `group`, as it is now."""
    now = optimizer.param_groups[group.number]
    return figures_of(as_rule(optimizer, Group(group.number, now, group.parameters)))


def resting(group: Group, optimizer: torch.optim.Optimizer) -> str:
    """The option that has moved although the servers can't follow it; '' for none."""
    counterpart = COUNTERPARTS[type(optimizer)]
    now, follows = optimizer.param_groups[group.number], FIGURES[counterpart.name]
    for name, before in group.options.items():
        field = counterpart.fields.get(name, "")
        if field != "betas" and field not in follows and now.get(name) != before:
            return name
    return ""


def figures_told(optimizer: torch.optim.Optimizer, group: Group) -> dict[str, float]:
    """The same as `rule` has it."""
    return figures_of(as_rule(optimizer, group))


def as_text(options: Mapping[str, Any]) -> dict[str, str]:
    """Options for comparing and for people."""
    return {name: str(_number(value)) for name, value in sorted(options.items())}


def told(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Of each group its options and the names of its parameters (`Rule.groups`)."""
    return [as_text(group.options) | {"params": group.parameters} for group in groups]


def _number(value: Any) -> Any:
    """Rates may be tensors."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value.tolist()
    return tuple(map(_number, value)) if isinstance(value, list | tuple) else value
