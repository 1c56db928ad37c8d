"""Micro-batches: together they are the batch, and their weighted gradients sum to the batch's gradient."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asgd.errors import UserError
from asgd.worker.reading.nested import count_samples, micro_batches


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


@dataclass
class Item:
    x: torch.Tensor
    name: str


@given(samples=st.integers(1, 40), parts=st.integers(1, 12))
def test_micro_batches_put_together_are_the_batch(samples: int, parts: int) -> None:
    x = torch.arange(samples)
    pieces = micro_batches({"x": x, "deep": [(x * 2,)]}, parts)
    assert len(pieces) == min(parts, samples)
    assert torch.equal(torch.cat([piece["x"] for piece, _ in pieces]), x)
    assert torch.equal(torch.cat([piece["deep"][0][0] for piece, _ in pieces]), x * 2)
    assert sum(share for _, share in pieces) == pytest.approx(1)
    assert all(len(piece["x"]) / samples == pytest.approx(share) for piece, share in pieces)
    sizes = [len(piece["x"]) for piece, _ in pieces]
    assert max(sizes) - min(sizes) <= 1


def test_the_weighted_gradients_sum_to_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    weights, inputs = torch.randn(5, dtype=torch.double, requires_grad=True), torch.randn(7, 5).double()
    (whole,) = torch.autograd.grad(((inputs @ weights) ** 2).mean(), weights)
    summed = torch.zeros_like(whole)
    for piece, share in micro_batches(inputs, 3):
        summed += share * torch.autograd.grad(((piece @ weights) ** 2).mean(), weights)[0]
    assert torch.allclose(summed, whole, rtol=1e-12)


def test_users_own_types_come_through() -> None:
    x = torch.arange(4)
    (pair, _), _ = micro_batches(Pair(x, x + 1), 2)
    assert isinstance(pair, Pair)
    assert pair.y.tolist() == [1, 2]
    (item, _), _ = micro_batches(Item(x, "kept"), 2)
    assert (item.x.tolist(), item.name) == ([0, 1], "kept")
    whole = UserDict(x=np.arange(4))
    (mapping, _), _ = micro_batches(whole, 2)
    assert isinstance(mapping, UserDict)
    assert mapping["x"].tolist() == [0, 1]
    assert len(whole["x"]) == 4


def test_what_does_not_have_a_row_for_each_sample_goes_whole_into_each() -> None:
    mask, scale = torch.ones(3, 3), torch.tensor(2.0)
    for piece, _ in micro_batches((torch.zeros(4, 3), mask, scale, "text"), 2):
        assert len(piece[0]) == 2
        assert piece[1] is mask
        assert piece[2] is scale
        assert piece[3] == "text"


def test_samples_are_counted_by_the_first_tensor_that_has_a_dimension() -> None:
    assert count_samples(["a", torch.tensor(1.0), {"x": torch.zeros(5, 2)}, torch.zeros(9)]) == 5
    with pytest.raises(UserError, match="without a tensor"):
        count_samples({"text": ["a", "b"]})
