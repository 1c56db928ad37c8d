"""Optimizers to compare ours with: PyTorch's own, and in double precision those that only a paper has."""

from __future__ import annotations

import math
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
    "lamb": {"name": "lamb", "learningRate": 0.01, "weightDecay": 0},
    "lamb with decay": {"name": "lamb", "learningRate": 0.01, "weightDecay": 0.1, "betas": [0.8, 0.95]},
    "muon": {"name": "muon", "learningRate": 0.01},
    "muon with all": {
        "name": "muon", "learningRate": 0.01, "weightDecay": 0.3, "momentum": 0.8, "nesterov": False, "nsSteps": 4,
        "betas": [0.8, 0.95], "adjustLrFn": "match_rms_adamw",
    },
    "adadelta with decay": {"name": "adadelta", "learningRate": 3.0, "weightDecay": 0.01, "rho": 0.95},
}  # fmt: skip


LAYERWISE = ("lamb", "muon")
"""They look at whole tensors."""
TENSORS = [
    ("a.weight", [4, 6]),
    ("a.bias", [5]),
    ("b.weight", [8, 3]),
    ("b.scale", [2, 2, 2]),
    ("c.weight", [1, 7]),
]
"""What a vector begins with, where a rule looks at tensors; the rest of it is one more."""


def tensors(size: int) -> list[tuple[str, list[int]]]:
    """(name, shape) of a vector of `size` elements, in flat order."""
    return [*TENSORS, ("rest", [size - sum(math.prod(shape) for _, shape in TENSORS)])]


def places(size: int) -> list[tuple[slice, list[int]]]:
    """The elements and the shape of each."""
    found, start = [], 0
    for _, shape in tensors(size):
        found.append((slice(start, start + math.prod(shape)), shape))
        start += math.prod(shape)
    return found


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


class PaperLamb:
    """LAMB, as algorithm 2 of You et al. 2020 (arXiv 1904.00962) is written, with phi(z) = z, over `TENSORS`."""

    def __init__(self, spec: Optimizer, start: F64, shape: list[int] | None = None) -> None:
        self.spec, self.theta, self.count = spec, start, 0
        self.places = [(slice(0, len(start)), shape)] if shape else places(len(start))
        self.m, self.v = np.zeros_like(start), np.zeros_like(start)

    def step(self, g: F64) -> None:
        spec, (b1, b2) = self.spec, self.spec.betas
        self.count += 1
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * np.square(g, dtype=np.float64)
        ratio = self.m / (1 - b1**self.count) / (np.sqrt(self.v / (1 - b2**self.count)) + spec.epsilon)
        for span, _ in self.places:
            x, r = self.theta[span], ratio[span]
            u = r + spec.weight_decay * x
            trust = np.linalg.norm(x) / np.linalg.norm(u) if x.any() and u.any() else 1.0
            self.theta[span] = x - spec.learning_rate * trust * u


class PaperMuon:
    """Muon, as Jordan et al. 2024 and `torch.optim.Muon` describe it, over `TENSORS`; AdamW where it is no matrix."""

    def __init__(self, spec: Optimizer, start: F64, shape: list[int] | None = None) -> None:
        self.spec, self.theta, self.count = spec, start, 0
        self.places = [(slice(0, len(start)), shape)] if shape else places(len(start))
        self.m, self.v = np.zeros_like(start), np.zeros_like(start)

    def step(self, g: F64) -> None:
        spec, (b1, b2), rate = self.spec, self.spec.betas, self.spec.learning_rate
        self.count += 1
        for span, shape in self.places:
            x, own, m = self.theta[span], np.asarray(g[span], np.float64), self.m[span]
            keep = spec.momentum if len(shape) == 2 else b1
            m[:] = keep * m + (1 - keep) * own
            x *= 1 - rate * spec.weight_decay
            if len(shape) == 2:
                ahead = keep * m + (1 - keep) * own if spec.nesterov else m
                factor = max(1, shape[0] / shape[1]) ** 0.5
                if spec.adjust_lr_fn == "match_rms_adamw":
                    factor = 0.2 * max(shape) ** 0.5
                x -= rate * factor * self.orthogonal(ahead.reshape(shape)).ravel()
                continue
            self.v[span] = b2 * self.v[span] + (1 - b2) * own * own
            wide = np.sqrt(self.v[span] / (1 - b2**self.count)) + spec.epsilon
            x -= rate * m / (1 - b1**self.count) / wide

    def orthogonal(self, matrix: F64) -> F64:
        """By the singular values: the iteration is the same odd polynomial of each of them."""
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        values = values / max(np.linalg.norm(values), 1e-7)
        for _ in range(self.spec.ns_steps):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        found: F64 = left * values @ right
        return found


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


_PAPERS: dict[str, Callable[..., Any]] = {
    "lion": PaperLion,
    "lamb": PaperLamb,
    "muon": PaperMuon,
}


def reference(spec: Optimizer, start: Any, shape: list[int] | None = None) -> Any:
    """What ours is compared with: `step(g)` moves `theta` (n,). `shape`: it is one tensor of that shape."""
    given = np.asarray(start, np.float64).copy()
    if spec.name in LAYERWISE:
        return _PAPERS[spec.name](spec, given, shape)
    return _PAPERS.get(spec.name, PyTorchs)(spec, given)
