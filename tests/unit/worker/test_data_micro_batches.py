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
from torch import nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence
from torch.utils.data import DataLoader, TensorDataset

from asgd.errors import UserError
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.pieces import pieces_of
from asgd.worker.reading.micro import MicroBatches, micro_batches
from asgd.worker.reading.nested import count_samples


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
    fewer = kind((images[:3], targets[:3]))
    for piece, _ in MicroBatches(2, another=lambda samples: (fewer, 3)).of(kind((images, targets)), 4):
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


def pair(samples: int) -> dict[str, Any]:
    """What a collate may give: a list of two things of each sample, one of samples, names that belong to all."""
    x = torch.arange(float(samples))
    sequences = [torch.full((2,), float(number)) for number in range(samples)]
    return {"pair": [x, x + 10], "sequences": sequences, "names": ["left", "right"]}


def cut_in_two(pieces: MicroBatches) -> list[tuple[list[float], list[float], list[str]]]:
    """`pair(2)` in micro-batches of one sample: what of each is in them."""
    found = []
    for piece, _ in pieces.of(pair(2), 2):
        things, sequences = piece["pair"], piece["sequences"]
        found.append(
            ([float(part) for part in things], [float(each[0]) for each in sequences], piece["names"])
        )
    return found


CUT = [([0.0, 10.0], [0.0], ["left", "right"]), ([1.0, 11.0], [1.0], ["left", "right"])]


def test_a_list_of_two_things_in_a_batch_of_two_samples_is_told_by_a_batch_of_three() -> None:
    asked = []

    def another(samples: int) -> tuple[Any, int]:
        asked.append(samples)
        return pair(3), 3

    pieces = MicroBatches(2, another=another)
    assert cut_in_two(pieces) == cut_in_two(pieces) == CUT
    assert asked == [2], "once"


def paired(samples: list[Any]) -> dict[str, Any]:
    x, y = (torch.stack([sample[place] for sample in samples]) for place in (0, 1))
    return {"pair": [x, y]}


@pytest.mark.parametrize("way", ["a dataset", "a loader"])
def test_a_task_of_batches_of_two_is_cut_by_its_own_samples_and_draws_nothing_for_it(way: str) -> None:
    data: Any = TensorDataset(torch.arange(10.0), 10 + torch.arange(10.0))
    batch = paired([data[0], data[1]])
    if way == "a loader":
        data = DataLoader(data, 2, collate_fn=paired)
    task = Task(
        model=nn.Linear(1, 1), loss=lambda model, batch: batch, data=data, collate=paired, accumulate=2
    )
    before = torch.get_rng_state()
    found = [
        piece["pair"] for piece, _ in pieces_of(task, JobSpec(entrypoint="a:b", batch_size=2)).of(batch, 2)
    ]
    assert [[part.tolist() for part in pair] for pair in found] == [[[0.0], [10.0]], [[1.0], [11.0]]]
    assert torch.equal(before, torch.get_rng_state())


def test_a_stream_tells_it_by_the_batches_before_and_is_refused_where_there_are_none() -> None:
    pieces = MicroBatches(4)
    pieces.of(pair(4), 4)
    assert cut_in_two(pieces) == CUT
    with pytest.raises(
        UserError, match=r"batch\['pair'\] has 2 elements and the first batch 2 samples, so nobody"
    ):
        MicroBatches(2).of(pair(2), 2)


def test_a_tensor_that_has_as_many_rows_as_samples_by_chance_is_refused() -> None:
    def weighted(samples: int) -> dict[str, Any]:
        return {"x": torch.zeros(samples, 3), "weights": torch.ones(4)}

    with pytest.raises(
        UserError, match=r"batch\['weights'\] has 4 rows in batches of any size and the batch 4"
    ):
        MicroBatches(2, another=lambda samples: (weighted(3), 3)).of(weighted(4), 4)


@pytest.mark.parametrize("parts", [2, 3, 4, 5, 8, 16, 32])
def test_a_short_batch_is_cut_into_nothing_smaller_than_two_samples_unless_a_full_one_is(parts: int) -> None:
    whole = 32
    full = [len(piece) for piece, _ in MicroBatches(parts, whole).of(torch.zeros(whole), whole)]
    for samples in range(1, whole):
        found = [len(piece) for piece, _ in MicroBatches(parts, whole).of(torch.zeros(samples), samples)]
        assert sum(found) == samples
        assert max(found) <= max(max(full), 3)
        assert min(found) >= min(2, min(full)) or found == [1]


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
    assert count_samples({"pair": [torch.zeros(5), torch.zeros(5)]}, 5) == 5, (
        "as many as its loader usually gives"
    )
    assert count_samples(pack_sequence(SEQUENCES, enforce_sorted=False)) == 4
    assert count_samples((torch.zeros(5), torch.zeros(9))) == 5, "the first tensor, where they do not agree"
    with pytest.raises(UserError, match="without a tensor"):
        count_samples({"text": "a"})
