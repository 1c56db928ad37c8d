"""A pipeline gives the bits of one device that runs the same micro-batches (check A8), whatever the model is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asgd.task import Task
from asgd.worker.parallel.pipeline import Pipeline
from asgd.worker.parallel.plan import place
from asgd.worker.parallel.schedule import Action
from asgd.worker.reading.leased import LeasedBatch
from tests.unit.parallel.models import CPU, OTHERS, SAMPLES, images, net, pipelined, task, train

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def one_thread_as_in_a_worker() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("accumulate", [1, 2, 5, SAMPLES])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_loss_gradients_weights_batch_norm_and_dropout_have_the_bits_of_one_device(
    stages: int, accumulate: int
) -> None:
    if accumulate == SAMPLES:
        plain, cut = (
            train(task(net()[2:], accumulate=accumulate, loss=without_norm), n) for n in (1, stages)
        )
    else:
        plain, cut = (train(task(net(), accumulate=accumulate), n) for n in (1, stages))
    assert plain.losses[0] != plain.losses[1], "dropout draws anew and weights move"
    assert cut.same_bits(plain)


def without_norm(model: Any, batch: Any) -> Tensor:
    """Batch norm refuses a micro-batch of one sample: 8 channels come by repeating the image."""
    return F.cross_entropy(model(batch[0][:, :, 1:7, 1:7].repeat(1, 8, 1, 1)), batch[1])


def test_stages_on_devices_of_their_own_have_the_same_bits() -> None:
    assert train(task(net()), 3, OTHERS).same_bits(train(task(net()), 1))


def test_more_stages_than_devices_share_them() -> None:
    assert train(task(net()), 4, OTHERS[:2]).same_bits(train(task(net()), 1))


def test_two_devices_hold_a_stage_each_and_the_pushed_vector_is_on_the_host() -> None:
    pipeline = pipelined(task(net()), 2, OTHERS[:2])
    pipeline.close()
    assert pipeline.flat.device == CPU
    assert pipeline.where == "2 stages (cpu:1, cpu:2)"


class Skipping(nn.Module):
    """Gives a dict with a tensor that goes past the next stage, an integer one and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 16)

    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Any]:
        h = torch.tanh(self.linear(x.flatten(1)))
        return {"h": h, "skip": h * scale, "rank": h.argsort(1), "power": 2}


class Middle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, given: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        return self.linear(F.dropout(given["h"], 0.5)) ** given["power"], given


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 10)

    def forward(self, given: tuple[Tensor, dict[str, Any]]) -> list[Tensor]:
        h, rest = given
        return [self.linear(h + rest["skip"] + rest["h"].gather(1, rest["rank"])), h]


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.start, self.middle = Last(), Skipping(), Middle()

    def forward(self, x: Tensor, *, scale: Tensor) -> list[Tensor]:
        return self.head(self.middle(self.start(x, scale=scale)))  # type: ignore[no-any-return]


def noisy_loss(model: Any, batch: Any) -> Tensor:
    """Draws before and after the model, calls it by keyword, uses both its outputs and autocast."""
    x = batch[0] + 0.1 * torch.randn_like(batch[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer, inside = model(x, scale=torch.tensor(0.5))
    return F.cross_entropy(F.dropout(answer.float(), 0.1), batch[1]) + inside.float().square().mean()


@pytest.mark.parametrize("devices", [[CPU], OTHERS], ids=["one", "three"])
def test_stages_of_ones_own_hand_on_whatever_they_like(devices: list[torch.device]) -> None:
    """Stages in another order than the model's parameters; values in dicts; skips; autocast; random inputs."""

    def one() -> Any:
        whole = Whole()
        return task(whole, noisy_loss, stages=[whole.start, whole.middle, whole.head])

    assert train(one(), 3, devices).same_bits(train(one(), 1))


def test_a_frozen_stage_and_a_parameter_that_no_batch_uses_are_left_alone() -> None:
    def one() -> Any:
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10), nn.Identity())
        torch.manual_seed(0)
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        model[1].requires_grad_(False)
        model[4].unused = nn.Parameter(torch.ones(3))
        return task(model)

    plain, cut = train(one(), 1), train(one(), 2)
    assert cut.same_bits(plain)
    assert cut.gradients[0][-3:].tolist() == [0, 0, 0]


def test_random_numbers_behind_a_batch_are_those_of_one_device_too() -> None:
    after = []
    for stages in (1, 3):
        for accumulate in (1, 4):
            train(task(net(), accumulate=accumulate), stages)
            after.append(torch.rand(3).tolist())
    assert after[0] == after[2]
    assert after[1] == after[3]


def test_a_stage_goes_forward_while_the_next_goes_backward() -> None:
    """The first stage's second forward happens wholly within the second stage's first backward."""
    backward_begun, forward_over = threading.Event(), threading.Event()
    events: list[tuple[int, Action, bool]] = []

    def watch(stage: int, action: Action, over: bool) -> None:
        if (stage, action) == (0, Action("forward", 1)):
            if over:
                forward_over.set()
            else:
                assert backward_begun.wait(timeout=30)
        events.append((stage, action, over))

    def inside_backward(gradient: Tensor) -> None:
        backward_begun.set()
        assert forward_over.wait(timeout=30)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Linear(16, 10))
    model[2].weight.register_hook(inside_backward)
    pipeline = pipelined(task(model, accumulate=4, stages=[model[:2], model[2]]), 2, watch=watch)
    pipeline.gradient(LeasedBatch(images(), SAMPLES))
    pipeline.close()
    assert len(events) == 2 * 2 * 2 * 4
    assert events.index((0, Action("forward", 1), True)) < events.index((1, Action("backward", 0), True))


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("this layer never works")


def failing_loss(model: Any, batch: Any) -> Tensor:
    model(batch[0])
    raise ValueError("no such label")


@pytest.mark.parametrize(
    ("one", "error", "words"),
    [
        (
            task(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Fails())),
            RuntimeError,
            "this layer never works",
        ),
        (task(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), failing_loss), ValueError, "no such label"),
    ],
    ids=["stage", "loss"],
)
def test_what_a_stage_or_the_loss_raises_comes_out_as_it_is(
    one: Task, error: type[Exception], words: str
) -> None:
    layers = [[layer] for layer in one.model.children()]
    pipeline = Pipeline(one, *place(one, layers, [CPU]))
    with pytest.raises(error, match=words):
        pipeline.gradient(LeasedBatch(images(), SAMPLES))
    pipeline.close()
