"""The example tasks: real data of the promised size, the same weights under one seed, and they do learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from asgd.errors import UserError
from asgd.examples import charlm, digits, mnist, parts
from asgd.task import Task
from asgd.worker.reading.data import LeasedBatches, dataset_size
from tests.effort import first

TASKS: dict[str, Callable[[], Task]] = {
    "digits cnn": digits.task,
    "digits mlp": lambda: digits.task(model="mlp"),
    "mnist": mnist.task,
    "charlm": charlm.task,
}


@pytest.fixture(autouse=True)
def one_thread_as_in_a_worker() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(name: str, seed: int) -> Task:
    torch.manual_seed(seed)
    return TASKS[name]()


def train(task: Task, steps: int, learning_rate: float, batch_size: int = 32) -> None:
    """Plain SGD, one worker, as many steps, over one endless row of epochs."""
    size = dataset_size(task)
    assert size
    leases = ((epoch, 0, size) for epoch in range(steps))
    batches = LeasedBatches(task.data, batch_size, 0, task.collate, 0, lambda: next(leases, None))
    optimizer = torch.optim.SGD(task.model.parameters(), lr=learning_rate)
    for leased in islice(batches, steps):
        optimizer.zero_grad()
        task.loss(task.model, leased.batch).backward()
        optimizer.step()


def measure(task: Task) -> dict[str, float]:
    assert task.evaluate
    return dict(task.evaluate(task.model))


@pytest.mark.parametrize("name", TASKS)
def test_one_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others(name: str) -> None:
    weights = [
        [parameter.detach().numpy().tobytes() for parameter in build(name, seed).model.parameters()]
        for seed in (1, 1, 2)
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize(
    ("name", "parameters", "samples"),
    [
        ("digits cnn", 38_482, 1437),
        ("digits mlp", 4_810, 1437),
        ("mnist", 61_706, 4000),
        ("charlm", 116_576, None),
    ],
)
def test_models_and_data_have_the_sizes_that_are_written_about_them(
    name: str, parameters: int, samples: int | None
) -> None:
    task = build(name, 0)
    assert sum(parameter.numel() for parameter in task.model.parameters()) == parameters
    if samples:  # how much text there is depends on the version of Python
        assert dataset_size(task) == samples
    assert not list(task.model.buffers())


@pytest.mark.parametrize(
    ("name", "steps", "learning_rate", "at_least"),
    first([("digits cnn", 450, 0.05, 0.97), ("digits mlp", 1000, 0.1, 0.95), ("mnist", 400, 0.1, 0.9)], 1),
)
def test_classifiers_learn_real_images(name: str, steps: int, learning_rate: float, at_least: float) -> None:
    task = build(name, 0)
    assert measure(task)["accuracy"] < 0.3
    train(task, steps, learning_rate)
    assert measure(task)["accuracy"] >= at_least


def test_the_language_model_beats_the_frequencies_of_single_characters() -> None:
    torch.manual_seed(0)
    task = charlm.task(context=32, width=32, layers=1)
    assert measure(task)["bitsPerCharacter"] > 6
    train(task, steps=300, learning_rate=0.5)
    after = measure(task)
    text = charlm.encode(charlm.topics(charlm.HELD_OUT))
    share = torch.tensor([count / len(text) for count in Counter(text.tolist()).values()])
    assert after["bitsPerCharacter"] < float(-(share * share.log2()).sum())
    assert after["test_loss"] == pytest.approx(after["bitsPerCharacter"] * 0.6931, rel=1e-3)


def test_a_language_model_cannot_look_ahead() -> None:
    torch.manual_seed(0)
    model = charlm.Transformer(context=16, width=32, layers=2)
    text = torch.randint(len(charlm.ALPHABET), (1, 16))
    changed = text.clone()
    changed[0, 10:] = (text[0, 10:] + 1) % len(charlm.ALPHABET)
    before, after = model(text), model(changed)
    assert torch.allclose(before[0, :10], after[0, :10], atol=1e-6)
    assert not torch.allclose(before[0, 10:], after[0, 10:], atol=1e-3)


def test_held_out_text_is_in_no_text_that_is_learnt() -> None:
    learnt = charlm.topics(charlm.LEARNT)
    for name in charlm.HELD_OUT:
        topic = charlm.topics([name])
        assert len(topic) > 5000
        assert not any(paragraph in learnt for paragraph in topic.split("\n\n") if len(paragraph) > 200)


def test_characters_outside_the_alphabet_do_not_change_the_model() -> None:
    codes = charlm.encode("a“ß”\n")
    assert "".join(charlm.ALPHABET[code] for code in codes) == 'a"?"\n'


def test_test_sets_hold_every_class_in_equal_parts_and_share_nothing_with_training() -> None:
    labels = torch.tensor([0, 1, 2] * 40).numpy()
    train_rows, test_rows = parts.stratified_split(labels, 30)
    assert sorted([*train_rows, *test_rows]) == list(range(120))
    assert Counter(labels[test_rows].tolist()) == {0: 10, 1: 10, 2: 10}


def test_rows_give_whole_batches_as_pytorch_would_collate_them() -> None:
    rows = parts.Rows(torch.arange(6).view(6, 1), torch.arange(6))
    collated: list[Tensor] = torch.utils.data.default_collate([rows[4], rows[1]])
    whole: Any = parts.as_it_is(rows.__getitems__([4, 1]))
    assert all(torch.equal(a, b) for a, b in zip(whole, collated, strict=True))


def test_what_the_user_got_wrong_is_said_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"spec.args.model is 'vit'; allowed are cnn, mlp"):
        digits.task(model="vit")
    with pytest.raises(UserError, match=r"needs no-such-package: pip install"):
        parts.packaged_table("no-such-package", "data.csv.gz")
    with pytest.raises(UserError, match=r"scikit-learn no longer has data.csv.gz"):
        parts.packaged_table("scikit-learn", "data.csv.gz")
