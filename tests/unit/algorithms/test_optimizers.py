"""Optimizers on flat vectors: PyTorch's own where the mathematics is the same, and the same bits in both libraries."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from asgd.algorithms.optimizers import make_optimizer
from asgd.kernel import F32
from asgd.spec.types import Optimizer

STEPS, SIZE = 60, 257

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
}


def spec_of(kind: str) -> Optimizer:
    return msgspec.convert({"learningRate": 0.05, **KINDS[kind]}, Optimizer)


def gradients() -> list[F32]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(SIZE).astype(np.float32) * np.float32(0.5) for _ in range(STEPS)]


def start() -> F32:
    return np.random.default_rng(4).standard_normal(SIZE).astype(np.float32)


def ours(kind: str, w: Any, convert: Any, sign: float = 1.0) -> Any:
    spec = spec_of(kind)
    optimizer = make_optimizer(spec)
    slots: dict[str, Any] = {}
    for name in optimizer.slots:
        slots[name] = w * 0
    scratch = w * 0
    for count, gradient in enumerate(gradients(), 1):
        g = convert(gradient * np.float32(sign))
        before = g * 1
        optimizer.update(w, g, sign * spec.learning_rate, slots, scratch, count)
        assert (g == before).all()
    return w


def theirs(kind: str) -> F32:
    spec = spec_of(kind)
    parameter = torch.nn.Parameter(torch.from_numpy(start()))
    common = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    optimizer: torch.optim.Optimizer
    if spec.name == "adam":
        optimizer = torch.optim.Adam([parameter], betas=spec.betas, eps=spec.epsilon, **common)
    elif spec.name == "adagrad":
        optimizer = torch.optim.Adagrad([parameter], eps=spec.epsilon, **common)
    else:
        optimizer = torch.optim.SGD([parameter], momentum=spec.momentum, nesterov=spec.nesterov, **common)
    for gradient in gradients():
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
    return parameter.detach().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_goes_where_pytorchs_own_goes(kind: str) -> None:
    found = ours(kind, start(), lambda g: g)
    assert np.abs(found - start()).max() > 0.1
    np.testing.assert_allclose(found, theirs(kind), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_on_a_server_and_torch_in_a_worker_give_the_same_bits(kind: str) -> None:
    in_numpy = ours(kind, start(), lambda g: g)
    in_torch = ours(kind, torch.from_numpy(start()), torch.from_numpy)
    assert np.array_equal(in_numpy.view(np.uint32), in_torch.numpy().view(np.uint32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pushed_difference_at_a_negative_rate_is_the_gradient_at_a_positive_one(kind: str) -> None:
    forward, mirrored = ours(kind, start(), lambda g: g), ours(kind, start(), lambda g: g, sign=-1.0)
    assert np.array_equal(forward, mirrored)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_the_same_whether_it_comes_whole_or_chunk_by_chunk(kind: str) -> None:
    spec = spec_of(kind)
    optimizer = make_optimizer(spec)
    whole, parts = start(), start()
    slots = [{name: np.zeros(SIZE, np.float32) for name in optimizer.slots} for _ in range(2)]
    scratch = np.empty(SIZE, np.float32)
    for count, g in enumerate(gradients()[:9], 1):
        optimizer.update(whole, g, 0.05, slots[0], scratch, count)
        for span in (slice(0, 100), slice(100, 101), slice(101, SIZE)):
            cut = {name: array[span] for name, array in slots[1].items()}
            optimizer.update(parts[span], g[span], 0.05, cut, scratch[: parts[span].size], count)
    assert np.array_equal(whole, parts)


def test_momentum_follows_the_papers_rule_when_the_rate_changes() -> None:
    """v = mu v - lr g: a later rate does not touch what is in v already, unlike PyTorch's lr * buffer."""
    optimizer = make_optimizer(spec_of("momentum"))
    w = np.ones(1, np.float32)
    slots, g = {"momentum": np.zeros(1, np.float32)}, np.ones(1, np.float32)
    optimizer.update(w, g, 0.5, slots, np.empty(1, np.float32), 1)
    optimizer.update(w, g, 0.0, slots, np.empty(1, np.float32), 2)
    assert w[0] == pytest.approx(1 - 0.5 - 0.45)
