"""Figures of a script's optimizer that move while it trains: what a push says of them, put into the servers' rule.

Schedulers write rates, momentum and betas into an optimizer's groups. Each push carries those that are not what the
rule was brought with, so a push is applied with the figures of its own step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from asgd.spec.groups import settings as of_group
from asgd.spec.types import Optimizer

Settings = Sequence[Mapping[str, float]]
"""Of each group: {name: figure} of those that differ from the rule's; empty: none does."""

_BETAS = ("beta1", "beta2")
BELOW_ONE = ("momentum", *_BETAS)
_COMMON = ("learning_rate", "weight_decay")
FIGURES: dict[str, tuple[str, ...]] = {
    "sgd": (*_COMMON, "momentum"),
    "adagrad": (*_COMMON, "epsilon"),
    "adam": (*_COMMON, *_BETAS, "epsilon"),
    "adamw": (*_COMMON, *_BETAS, "epsilon"),
    "rmsprop": (*_COMMON, "momentum", "epsilon"),
    "adadelta": (*_COMMON, "epsilon"),
}
"""Of each rule that a script's optimizer may become: the figures that may move."""


def figures_of(optimizer: Optimizer) -> dict[str, float]:
    """{name: figure} of all that may move of a rule without groups."""
    return {name: _figure(optimizer, name) for name in FIGURES.get(optimizer.name, ())}


def _figure(optimizer: Optimizer, name: str) -> float:
    if name in _BETAS:
        return optimizer.betas[_BETAS.index(name)]
    return float(getattr(optimizer, name))


def moved(optimizer: Optimizer, settings: Settings) -> Optimizer:
    """The rule with the figures of `settings` in the place of its own."""
    if not settings:
        return optimizer
    if not optimizer.groups:
        return replace(optimizer, **_changed(settings[0], optimizer.betas))
    groups = tuple(
        replace(group, **_changed(settings[number], of_group(optimizer, number).betas))
        if number < len(settings)
        else group
        for number, group in enumerate(optimizer.groups)
    )
    return replace(optimizer, groups=groups, learning_rate=base_rate(group.learning_rate for group in groups))


def base_rate(rates: Any) -> float:
    """What groups' rates are multiples of: the first that is not 0."""
    return next((float(rate) for rate in rates if rate), 1.0)


def _changed(figures: Mapping[str, float], betas: tuple[float, float]) -> dict[str, Any]:
    """Fields of the spec."""
    changed: dict[str, Any] = {name: value for name, value in figures.items() if name not in _BETAS}
    if any(name in figures for name in _BETAS):
        changed["betas"] = tuple(figures.get(name, old) for name, old in zip(_BETAS, betas, strict=True))
    return changed


def slower(settings: Settings, factor: float) -> list[dict[str, float]]:
    """The same with rates times `factor`, which rollbacks have left."""
    return [
        {name: value * factor if name == "learning_rate" else value for name, value in figures.items()}
        for figures in settings
    ]


def unusable(optimizer: Optimizer, settings: Settings) -> str:
    """Why a push with `settings` can't be applied by a rule; '' when it can."""
    for number, figures in enumerate(settings):
        own = of_group(optimizer, number) if number < len(optimizer.groups) else optimizer
        for name, value in figures.items():
            if name not in FIGURES.get(optimizer.name, ()):
                return f"{optimizer.name} has no figure {name}"
            if not 0 <= value < (1.0 if name in BELOW_ONE else math.inf):
                return f"{name} is {value:g}"
            if name == "momentum" and not own.momentum:
                return f"momentum is {value:g}, and there is no room for it"
    return ""
