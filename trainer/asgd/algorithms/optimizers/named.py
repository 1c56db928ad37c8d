"""Optimizers by the name that stands in `spec.optimizer.name`."""

from __future__ import annotations

from asgd.algorithms.optimizers.adaptive import Adadelta, Adagrad, Adam, AdamW, Lion, RmsProp
from asgd.algorithms.optimizers.base import Optimizer
from asgd.algorithms.optimizers.layerwise import Lamb, Muon
from asgd.algorithms.optimizers.momentum import Momentum, Sgd
from asgd.spec.types import Optimizer as OptimizerSpec

_NAMED: dict[str, type[Optimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "lion": Lion,
    "rmsprop": RmsProp,
    "adadelta": Adadelta,
    "lamb": Lamb,
    "muon": Muon,
}


def make_optimizer(spec: OptimizerSpec) -> Optimizer:
    """The optimizer that `optimizer.name` and its fields ask for."""
    if spec.name == "sgd":
        return Momentum(spec) if spec.momentum else Sgd(spec)
    return _NAMED[spec.name](spec)
