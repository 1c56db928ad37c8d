"""What a worker tells of its loss: the same in every process of a job, and without a trace in what trains."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from asgd.task import Task
from asgd.wire.agreement import Part
from asgd.wire.first_loss import unlike_loss
from asgd.worker.device.flat import Flat
from asgd.worker.task.agreeing import look
from asgd.worker.task.first_loss import first_loss, tried_here
from tests.checks.virtual import job

CPU = torch.device("cpu")
Loss = Callable[[nn.Module, Any], Tensor]


@pytest.fixture(autouse=True, params=["in a copy", "here, as on a device"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "in a copy":
        monkeypatch.setattr("asgd.worker.task.first_loss._apart", tried_here)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))


def labelled(shift: int = 0) -> Loss:
    """Cross-entropy of labels that the loss numbers anew."""
    return lambda model, batch: F.cross_entropy(model(batch[0]), (batch[1] + shift) % 10)


def task_of(loss: Loss, model: nn.Module | None = None) -> Task:
    own = torch.Generator().manual_seed(3)
    data = TensorDataset(torch.randn(100, 6, generator=own), torch.randint(0, 10, (100,), generator=own))
    return Task(model=model or network(), loss=loss, data=data)


@pytest.fixture(autouse=True)
def time_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgd.worker.task.agreeing.READ_SECONDS", 60.0)


def told(task: Task, read: int = 8, **spec: Any) -> list[Part]:
    """The losses that a process tells which had time to read `read` samples."""
    looked = look(task)
    assert len(looked.raw) in (0, 8)
    return first_loss(task, job(**spec).spec, Flat(task.model, CPU), looked.raw[:read])


def differ(one: Task, other: Task, read: int = 8) -> str:
    """In what the loss of the most samples differs that both have."""
    mine = {part.name: part for part in told(one)}
    theirs = next(part for part in told(other, read) if part.name in mine)
    return unlike_loss(mine[theirs.name], theirs)


@pytest.mark.parametrize("shift", range(1, 10))
def test_labels_that_only_the_loss_numbers_otherwise_are_found(shift: int) -> None:
    assert differ(task_of(labelled()), task_of(labelled())) == ""
    assert differ(task_of(labelled()), task_of(labelled(shift)))


@pytest.mark.parametrize("read", range(1, 8))
def test_who_had_no_time_to_read_as_many_samples_is_compared_all_the_same(read: int) -> None:
    assert differ(task_of(labelled()), task_of(labelled()), read) == ""
    assert differ(task_of(labelled()), task_of(labelled(1)), read)


def test_they_are_found_where_the_last_layer_begins_with_zeros_and_every_label_has_one_loss() -> None:
    def zeros() -> nn.Module:
        model = network()
        nn.init.zeros_(model[-1].weight)  # type: ignore[index, arg-type]
        nn.init.zeros_(model[-1].bias)  # type: ignore[index, arg-type]
        return model

    assert differ(task_of(labelled(), zeros()), task_of(labelled(), zeros())) == ""
    assert differ(task_of(labelled(), zeros()), task_of(labelled(1), zeros())) == "in its gradient"


def test_every_weight_of_a_large_model_counts() -> None:
    def wide(scale: float) -> Task:
        model = nn.Linear(6, 9000)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        return task_of(
            lambda model, batch: model(batch[0])[:, 7777].sum() * scale + model.bias[3] * 1e-3, model
        )

    assert differ(wide(1.0), wide(1.0)) == "" and differ(wide(1.0), wide(-1.0)) == "in its gradient"


def test_models_that_begin_with_other_weights_are_not_compared() -> None:
    other = network()
    with torch.no_grad():
        other[0].weight.mul_(1.5)  # type: ignore[index, operator]
    assert differ(task_of(labelled()), task_of(labelled(1), other)) == ""


def test_rounding_of_another_device_does_not_count() -> None:
    exact, *_ = told(task_of(labelled()))
    rounded = replace_floats(
        exact, [figure * (1 + 0.005 * (-1) ** i) for i, figure in enumerate(exact.floats)]
    )
    rounded.floats[:3] = exact.floats[:3]
    assert unlike_loss(exact, rounded) == ""


def replace_floats(part: Part, floats: list[float]) -> Part:
    return Part(part.name, part.form, part.exact, floats)


@pytest.mark.parametrize("draw", [lambda: torch.rand(()), random.random, np.random.rand])
def test_a_loss_that_draws_is_left_out_and_the_log_says_so(
    draw: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = labelled()
    assert told(task_of(lambda model, batch: plain(model, batch) * (1 + draw()))) == []
    assert "the loss draws random numbers: it is not compared" in capsys.readouterr().out


def test_a_loss_that_is_random_by_itself_is_left_out() -> None:
    # NB: of chance alone two draws in fifty are as near to each other as two devices' losses may be.
    own, plain = random.Random(1), labelled()
    assert told(task_of(lambda model, batch: plain(model, batch) + own.random())) == []


def test_dropout_and_batch_norm_rest_while_the_loss_is_looked_at() -> None:
    assert differ(task_of(labelled()), task_of(labelled())) == ""


class Counts(nn.Module):
    """Anneals by the number of its calls, and writes a buffer in any mode."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.linear = 0, nn.Linear(6, 10)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = self.seen + 1  # another tensor
        with torch.no_grad():
            self.linear.weight.clamp_(-0.1, 0.1)
        found: Tensor = self.linear(x)
        return found


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_the_model_changes_by_it_and_random_numbers_go_on_as_they_were(fails: bool) -> None:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        found = labelled()(model, batch) * (1 + torch.rand(()))
        if fails:
            raise SystemExit(3)
        return found

    model = nn.Sequential(Counts(), nn.BatchNorm1d(10))
    model[1].eval()
    task = task_of(loss, model)
    flat = Flat(model, CPU)
    looked, counts = look(task), model[0]
    before = {name: (id(value), value.clone()) for name, value in model.state_dict(keep_vars=True).items()}
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    assert first_loss(task, job().spec, flat, looked.raw) == []
    assert torch.equal(torch.rand(3), wanted)
    after = model.state_dict(keep_vars=True)
    assert {name: id(value) for name, value in after.items()} == {n: b[0] for n, b in before.items()}
    assert all(torch.equal(value, before[name][1]) for name, value in after.items())
    assert isinstance(counts, Counts) and counts.calls == 0 and counts.training and not model[1].training
    assert not flat.grads.any()


@pytest.mark.parametrize("returned", [1.0, None, torch.ones(2)])
def test_a_loss_that_returns_what_it_may_not_is_left_to_the_check(returned: Any) -> None:
    assert told(task_of(lambda model, batch: returned)) == []


def test_no_more_samples_than_one_micro_batch_are_used() -> None:
    task = replace(task_of(labelled()), accumulate=4)
    assert told(task, batchSize=8)[0].name == "the loss of the first 2 samples on cpu"
    assert told(task, batchSize=2)[0].name == "the loss of the first 1 sample on cpu"
    assert told(task_of(labelled()), batchSize=64)[0].name == "the loss of the first 8 samples on cpu"


def test_a_slow_loss_is_computed_once_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("asgd.worker.task.first_loss.SECONDS_MOST", -1.0)
    assert told(task_of(lambda model, batch: calls.append(1))) == [] and len(calls) <= 1  # type: ignore[arg-type, return-value, func-returns-value]


def test_a_stream_and_random_data_have_no_samples_whose_loss_could_be_compared() -> None:
    task = Task(model=network(), loss=labelled(), data=iter([1]))
    assert told(task) == []
