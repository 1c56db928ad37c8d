"""Figures of a script's optimizer that move while it trains: what a push says of them, put into the servers' rule.

Schedulers write rates, momentum and betas into an optimizer's groups. Each push carries those that are not what the
rule was brought with, so a push is applied with the figures of its own step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from asgd.spec.types import Optimizer

Settings = Sequence[Mapping[str, float]]
"""Of each group: {name: figure} of those that differ from the rule's; empty: none does."""

_BETAS = ("beta1", "beta2")
BELOW_ONE = ("momentum", *_BETAS)
FIGURES: dict[str, tuple[str, ...]] = {
    "sgd": ("learning_rate", "momentum", "weight_decay"),
    "adagrad": ("learning_rate", "weight_decay", "epsilon"),
    "adam": ("learning_rate", *_BETAS, "weight_decay", "epsilon"),
}
"""Of each rule: the figures that may move."""


def figures_of(optimizer: Optimizer) -> dict[str, float]:
    """{name: figure} of all that may move of a rule."""
    return {name: _figure(optimizer, name) for name in FIGURES.get(optimizer.name, ())}


def _figure(optimizer: Optimizer, name: str) -> float:
    if name in _BETAS:
        return optimizer.betas[_BETAS.index(name)]
    return float(getattr(optimizer, name))


def moved(optimizer: Optimizer, figures: Mapping[str, float]) -> Optimizer:
    """The rule with `figures` in the place of its own."""
    if not figures:
        return optimizer
    changed: dict[str, Any] = {name: value for name, value in figures.items() if name not in _BETAS}
    betas = tuple(figures.get(name, old) for name, old in zip(_BETAS, optimizer.betas, strict=True))
    if betas != optimizer.betas:
        changed["betas"] = betas
    return replace(optimizer, **changed)


def unusable(optimizer: Optimizer, settings: Settings) -> str:
    """Why a push with `settings` can't be applied by a rule; '' when it can."""
    for figures in settings:
        for name, value in figures.items():
            if name not in FIGURES.get(optimizer.name, ()):
                return f"{optimizer.name} has no figure {name}"
            most = 1.0 if name in BELOW_ONE else math.inf
            if not 0 <= value < most:
                return f"{name} is {value:g}"
    return ""
