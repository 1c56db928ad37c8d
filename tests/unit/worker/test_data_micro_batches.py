"""Micro-batches: together they are the batch, and their weighted gradients sum to the batch's gradient."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

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
    pieces = micro_batches({"x": x, "deep": [(x * 2,)]}, parts, samples)
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
    for piece, share in micro_batches(inputs, 3, 7):
        summed += share * torch.autograd.grad(((piece @ weights) ** 2).mean(), weights)[0]
    assert torch.allclose(summed, whole, rtol=1e-12)


def test_users_own_types_come_through() -> None:
    x = torch.arange(4)
    (pair, _), _ = micro_batches(Pair(x, x + 1), 2, 4)
    assert isinstance(pair, Pair)
    assert pair.y.tolist() == [1, 2]
    (item, _), _ = micro_batches(Item(x, "kept"), 2, 4)
    assert (item.x.tolist(), item.name) == ([0, 1], "kept")
    whole = UserDict(x=np.arange(4))
    (mapping, _), _ = micro_batches(whole, 2, 4)
    assert isinstance(mapping, UserDict)
    assert mapping["x"].tolist() == [0, 1]
    assert len(whole["x"]) == 4


def test_single_values_and_what_has_one_row_go_whole_into_each() -> None:
    mask, scale = torch.ones(1, 3), torch.tensor(2.0)
    for piece, _ in micro_batches((torch.zeros(4, 3), mask, scale, "text", None), 2, 4):
        assert len(piece[0]) == 2
        assert piece[1] is mask
        assert piece[2] is scale
        assert piece[3:] == ("text", None)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.zeros(4, 3), torch.ones(9, 5)), r"batch\[1\] has 9 rows and the batch 4 samples"),
        ({"x": torch.zeros(4), "boxes": np.ones((7, 5))}, r"batch\['boxes'\] has 7 rows"),
        ({"x": torch.zeros(4), "parts": [torch.ones(3)] * 2}, r"batch\['parts'\] has 2 elements"),
    ],
)
def test_what_has_neither_a_row_nor_an_element_for_each_sample_is_refused_by_name(
    batch: Any, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        micro_batches(batch, 2, 4)


SEQUENCES = [torch.arange(6.0), torch.arange(3.0), torch.arange(6.0), torch.arange(4.0)]


def test_lists_of_sequences_are_cut_by_samples() -> None:
    (first, share), (second, _) = micro_batches(SEQUENCES, 2, 4)
    assert share == 0.5
    assert [len(part) for part in first] == [6, 3]
    assert [len(part) for part in second] == [6, 4]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", [list, tuple])
def test_images_and_their_targets_are_cut_by_samples(channels: int, kind: type) -> None:
    images = kind(torch.rand(channels, 8, 8) for _ in range(4))
    targets = kind({"boxes": torch.rand(4, 4), "name": "cat"} for _ in range(4))
    for piece, _ in micro_batches(kind((images, targets)), 2, 4):
        assert [image.shape for image in piece[0]] == [(channels, 8, 8)] * 2
        assert [target["boxes"].shape for target in piece[1]] == [(4, 4)] * 2


def test_strings_are_cut_by_samples() -> None:
    text = {"text": ["a", "b", "c", "d"], "label": torch.arange(4), "source": ["wiki"]}
    pieces = [piece for piece, _ in micro_batches(text, 2, 4)]
    assert [piece["text"] for piece in pieces] == [["a", "b"], ["c", "d"]]
    assert [piece["label"].tolist() for piece in pieces] == [[0, 1], [2, 3]]
    assert [piece["source"] for piece in pieces] == [["wiki"]] * 2


def test_a_pair_of_tensors_is_no_list_of_two_samples() -> None:
    x, y = torch.arange(2), torch.arange(2) + 10
    assert [[part.tolist() for part in piece] for piece, _ in micro_batches([x, y], 2, 2)] == [
        [[0], [10]],
        [[1], [11]],
    ]


def test_packed_sequences_are_cut_by_samples() -> None:
    packed = pack_sequence(SEQUENCES, enforce_sorted=False)
    (first, _), (second, _) = micro_batches({"x": packed, "y": torch.arange(4)}, 2, 4)
    assert [len(sequence) for sequence in unpack_sequence(first["x"])] == [6, 3]
    assert [len(sequence) for sequence in unpack_sequence(second["x"])] == [6, 4]
    assert second["y"].tolist() == [2, 3]


def test_a_stream_s_samples_are_counted_by_what_rows_and_elements_agree_on() -> None:
    assert count_samples(["a", torch.tensor(1.0), {"x": torch.zeros(5, 2)}]) == 5
    assert count_samples([torch.zeros(2, 3), torch.zeros(2)]) == 2
    assert count_samples(SEQUENCES) == 4
    images, targets = [torch.rand(3, 8, 8)] * 4, [{"boxes": torch.rand(3, 4)}] * 4
    assert count_samples((images, targets)) == count_samples((tuple(images), tuple(targets))) == 4
    assert count_samples({"text": ["a", "b"]}) == 2
    assert count_samples(pack_sequence(SEQUENCES, enforce_sorted=False)) == 4
    assert count_samples((torch.zeros(5), torch.zeros(9))) == 5, "the first tensor, where they do not agree"
    with pytest.raises(UserError, match="without a tensor"):
        count_samples({"text": "a"})
