"""Optimizers to compare ours with: PyTorch's own, and in double precision those that only a paper has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from asgd.spec.optimizers import FIELDS
from asgd.spec.types import Optimizer

F64 = npt.NDArray[np.float64]

KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd"},
    "sgd with decay": {"name": "sgd", "weightDecay": 0.01},
    "momentum": {"name": "sgd", "momentum": 0.9},
    "momentum with decay": {"name": "sgd", "momentum": 0.9, "weightDecay": 0.01},
    "nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "nesterov with decay": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weightDecay": 0.01},
    "adagrad": {"name": "adagrad"},
    "adagrad with decay": {"name": "adagrad", "weightDecay": 0.01},
    "adam": {"name": "adam", "learningRate": 0.01},
    "adam with decay": {"name": "adam", "learningRate": 0.01, "weightDecay": 0.01, "betas": [0.8, 0.99]},
    "adamw": {"name": "adamw", "learningRate": 0.01},
    "adamw with decay": {"name": "adamw", "learningRate": 0.01, "weightDecay": 0.3, "betas": [0.8, 0.95]},
    "lion": {"name": "lion", "learningRate": 0.01},
    "lion with decay": {"name": "lion", "learningRate": 0.01, "weightDecay": 0.3, "betas": [0.95, 0.98]},
    "rmsprop": {"name": "rmsprop", "learningRate": 0.01},
    "rmsprop with decay": {"name": "rmsprop", "learningRate": 0.01, "weightDecay": 0.01, "alpha": 0.9},
    "rmsprop centered": {"name": "rmsprop", "learningRate": 0.01, "centered": True, "epsilon": 1e-5},
    "rmsprop with momentum": {"name": "rmsprop", "learningRate": 0.001, "momentum": 0.9},
    "rmsprop with all": {
        "name": "rmsprop", "learningRate": 0.001, "momentum": 0.9, "centered": True, "weightDecay": 0.01,
    },
    "adadelta": {"name": "adadelta", "learningRate": 1.0},
    "adadelta with decay": {"name": "adadelta", "learningRate": 3.0, "weightDecay": 0.01, "rho": 0.95},
}  # fmt: skip


def spec_of(kind: str) -> Optimizer:
    return msgspec.convert({"learningRate": 0.05, **KINDS[kind]}, Optimizer)


def pytorchs(spec: Optimizer, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
    """PyTorch's optimizer with the fields that the job gives; what it does not give is PyTorch's own default."""
    common = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    if spec.name == "sgd":
        return torch.optim.SGD([parameter], momentum=spec.momentum, nesterov=spec.nesterov, **common)
    kind = {
        "adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop, "adadelta": torch.optim.Adadelta,
    }[spec.name]  # fmt: skip
    own = {"eps" if name == "epsilon" else name: getattr(spec, name) for name in FIELDS[spec.name]}
    return kind([parameter], **own, **common)


class PaperLion:
    """Lion, as algorithm 2 of Chen et al. 2023 (arXiv 2302.06675) is written."""

    def __init__(self, spec: Optimizer, start: F64) -> None:
        self.spec, self.theta, self.m = spec, start, np.zeros_like(start)

    def step(self, g: F64) -> None:
        spec, (b1, b2) = self.spec, self.spec.betas
        update = np.sign(b1 * self.m + (1 - b1) * g)
        self.theta = self.theta - spec.learning_rate * (update + spec.weight_decay * self.theta)
        self.m = b2 * self.m + (1 - b2) * g


class PyTorchs:
    """PyTorch's own optimizer on one parameter."""

    def __init__(self, spec: Optimizer, start: F64) -> None:
        self.parameter = torch.nn.Parameter(torch.from_numpy(start.astype(np.float32)))
        self.optimizer = pytorchs(spec, self.parameter)

    @property
    def theta(self) -> Any:
        return self.parameter.detach().numpy()

    def step(self, g: Any) -> None:
        self.parameter.grad = torch.from_numpy(np.asarray(g, np.float32))
        self.optimizer.step()


_PAPERS: dict[str, Callable[[Optimizer, F64], Any]] = {"lion": PaperLion}


def reference(spec: Optimizer, start: Any) -> Any:
    """What ours is compared with: `step(g)` moves `theta` (n,)."""
    return _PAPERS.get(spec.name, PyTorchs)(spec, np.asarray(start, np.float64).copy())
