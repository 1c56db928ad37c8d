"""A script's own optimizer behind `asgd.connect(model, optimizer)`: the object stays the script's.

Where the servers run its rule it makes no step here: each push tells what its groups hold that has moved since. Where
they do not, the strategy's worker half steps by it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from asgd.algorithms.base import Vector
from asgd.errors import UserError
from asgd.spec.types import Job
from asgd.wire.rule import Rule
from asgd.worker.device.flat import Flat, Share
from asgd.worker.optimizing import rules
from asgd.worker.optimizing.placing import place
from asgd.worker.optimizing.rules import Group
from asgd.worker.optimizing.stepping import adopt, masters


class Handed:
    """`optimizer` with its trained `groups`, in a job whose rule it is."""

    def __init__(self, optimizer: torch.optim.Optimizer, groups: Sequence[Group], rule: Rule) -> None:
        self.optimizer, self.rule = optimizer, rule
        self._groups = groups
        self._members = _members(optimizer)
        self._brought = [rules.figures_told(optimizer, group) for group in groups] if rule.optimizer else []

    @property
    def on_servers(self) -> bool:
        """The servers make its steps."""
        return self.rule.optimizer is not None

    def settings(self) -> list[dict[str, float]]:
        """What a push says: of each group, the figures that are not as brought; empty where all are.

        Raises UserError when the script has changed what is agreed on.
        """
        self.check()
        if not self.on_servers:
            return []
        found = []
        for group, before in zip(self._groups, self._brought, strict=True):
            now = rules.figures(self.optimizer, group)
            if name := rules.resting(group, self.optimizer):
                raise UserError(
                    f"the {self.rule.whose} has changed {name} of {self.rule.kind} since it was handed over, which the"
                    " servers can't follow; allowed: rates, momentum, betas, weight decay and epsilon"
                )
            if now.get("momentum") and not before.get("momentum"):
                raise UserError(
                    f"the momentum of {self.rule.kind} is {now['momentum']:g} now and was 0 when it was handed over,"
                    " where the servers have made no room for it; allowed: momentum above 0 from the start, or a"
                    " scheduler with cycle_momentum=False"
                )
            found.append({name: value for name, value in now.items() if value != before[name]})
        return found if any(found) else []

    def check(self) -> None:
        """Raises UserError when groups have come, or parameters have moved between them."""
        if _members(self.optimizer) != self._members:
            raise UserError(
                f"the groups of {self.rule.kind} hold other parameters than in asgd.connect(model, optimizer), where"
                " all workers agreed on them; allowed: groups that are there from the start, with lr=0 for what is"
                " trained later"
            )

    def told(self) -> None:
        """A step was made by the servers: schedulers look for that."""
        self.optimizer._opt_called = True  # type: ignore[attr-defined]


class Stepping:
    """The script's optimizer as a worker's local rule (`base.LocalRule`); its rates are its own."""

    relative = True

    def __init__(self, optimizer: torch.optim.Optimizer, gradient: Vector) -> None:
        self._optimizer, self._gradient = optimizer, gradient
        self._stepped = False

    def step(self, w: Vector, g: Vector, rate: float, scratch: Vector) -> None:
        """`rate`: a factor on its learning rates, which rollbacks leave."""
        if g is not self._gradient:
            self._gradient[:] = g
        self._stepped = True
        groups = self._optimizer.param_groups
        rates = [group.get("lr") for group in groups]
        if rate == 1.0:
            self._optimizer.step()
            return
        try:
            for group, own in zip(groups, rates, strict=True):
                if own is not None:
                    group["lr"] = own * rate
            self._optimizer.step()
        finally:
            for group, own in zip(groups, rates, strict=True):
                if own is not None:
                    group["lr"] = own

    def forget(self) -> None:
        """NB: what the script has loaded before its first step stays."""
        if self._stepped:
            self._optimizer.state.clear()

    def learning_rate(self, rate: float) -> float:
        """That of the first group."""
        first = self._optimizer.param_groups[0].get("lr")
        return rate if first is None else float(first) * rate


def _members(optimizer: torch.optim.Optimizer) -> list[list[int]]:
    return [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]


def of_script(optimizer: Any) -> torch.optim.Optimizer:
    """What was handed over. Raises UserError when it is no optimizer of PyTorch's kind."""
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    raise UserError(
        f"asgd.connect(model, optimizer): {type(optimizer).__name__} is no torch.optim.Optimizer; allowed: one, or none"
    )


def take_over(optimizer: torch.optim.Optimizer, model: nn.Module, flat: Flat, job: Job) -> Handed:
    """The script's optimizer in this job. Raises UserError where it does not fit model or job."""
    groups, rule = placed(optimizer, model, flat, job)
    return settled(optimizer, groups, rule, flat)


def placed(
    optimizer: torch.optim.Optimizer, model: nn.Module, flat: Flat | Share, job: Job
) -> tuple[list[Group], Rule]:
    """Its groups of what `flat` has of `model`, and its rule in this job. Raises as `take_over`."""
    trained = {id(p): name for p, (name, _) in zip(flat.parameters, flat.layout, strict=True)}
    groups = rules.groups_of(of_script(optimizer), model, trained)
    return groups, place(job.spec, optimizer, groups, left_out(groups, trained), document=job.document)


def settled(optimizer: torch.optim.Optimizer, groups: Sequence[Group], rule: Rule, flat: Flat) -> Handed:
    """The optimizer where `rule` has its steps made."""
    stepped = any(float(state.get("step", 1)) > 0 for state in optimizer.state.values())
    if rule.optimizer and stepped:
        warnings.warn(
            f"asgd.connect(model, optimizer): what {rule.kind} has in its state already (momentum) is not taken over,"
            " for the servers keep it and begin anew",
            stacklevel=4,
        )
    if rule.optimizer is None and flat.rounded:
        adopt(optimizer, flat.parameters, masters(flat, flat.weights, flat.grads))
    return Handed(optimizer, groups, rule)


def left_out(groups: Sequence[Group], trained: Mapping[int, str]) -> list[str]:
    """Names of what is trained and in none of the groups."""
    held = {name for group in groups for name in group.parameters}
    return [name for name in trained.values() if name not in held]
