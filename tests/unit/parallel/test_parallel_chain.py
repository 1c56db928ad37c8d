"""Which models can be cut, where, and what a person hears about those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from asgd.errors import UserError
from asgd.spec.types import Devices, JobSpec, Workers
from asgd.task import Task
from asgd.worker.parallel.plan import check, cut
from tests.unit.parallel.models import images, mean_loss, net, spec, task


def kinds(one: Task, stages: int) -> list[str]:
    """A letter a layer, a word a stage."""
    return ["".join(type(layer).__name__[0] for layer in layers) for layers in cut(one, spec(stages))]


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def test_a_convolutional_net_is_cut_by_operations_where_little_is_handed_over() -> None:
    """The first convolution has 60 parameters and 6,912 operations a sample, the last layer 2,570 and 5,120."""
    assert kinds(task(lenet()), 2) == ["CRM", "CRFL"]
    assert kinds(task(lenet()), 3) == ["CRM", "C", "RFL"]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("a stream is not looked at")


def test_a_stream_is_not_read_to_cut_the_model_which_goes_by_parameters() -> None:
    assert kinds(task(lenet(), data=Stream()), 2) == ["CRMC", "RFL"]


def test_nested_sequentials_are_cut_inside_and_those_with_hooks_are_not() -> None:
    assert [len(layers) for layers in cut(task(net()), spec(9))] == [1] * 9
    model = net()
    model[5].register_forward_hook(lambda *_: None)
    assert sorted(len(layers) for layers in cut(task(model), spec(8))) == [1] * 8
    with pytest.raises(
        UserError, match=r"spec\.workers\.stages: 9, but the model has 8 layers; allowed: 1 to 8"
    ):
        cut(task(model), spec(9))


def test_looking_at_a_model_leaves_its_modes_buffers_and_random_numbers_alone() -> None:
    model = net().train()
    model[3].eval()
    before = [b.clone() for b in model.buffers()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check(task(model), spec(2), images())
    assert torch.equal(torch.rand(3), expected)
    assert [m.training for m in model] == [True, True, True, False, True, True, True, True]
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))


def test_stages_of_ones_own_are_taken_as_they_are_and_more_of_them_put_together() -> None:
    model = lenet()
    assert kinds(task(model, stages=[model[:1], model[1:]]), 2) == ["S", "S"]
    assert [
        len(layers) for layers in cut(task(model, stages=[model[:1], model[1:3], model[3:]]), spec(2))
    ] == [2, 1]


class Dropping(nn.Module):
    """Wraps a part of a model; in training it is not what the model is in evaluation."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.part(F.dropout(x, 0.5, self.training))
        return answer


def test_modules_around_parts_of_the_model_are_compared_in_evaluation_mode_and_trained_in_training_mode() -> (
    None
):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    upper = Dropping(model[2])
    check(task(model, stages=[model[0], upper]), spec(2), images())
    assert upper.training


def test_tied_layers_stay_together() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    one = task(model, data=torch.utils.data.TensorDataset(torch.ones(3, 4), torch.tensor([0, 1, 0])))
    assert kinds(one, 2) == ["LRL", "L"]
    with pytest.raises(UserError, match="has 4 layers of which some share parameters; allowed: 1 to 2"):
        cut(one, spec(3))


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, 10)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.last(self.scale * self.first(x.flatten(1)))
        return answer


def custom(stages: Callable[[Custom], Any] | None, loss: Any = mean_loss) -> Task:
    model = Custom()
    return task(model, loss, stages=None if stages is None else stages(model))


def flat(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *layers)


def twice(model: Any, batch: Any) -> Tensor:
    return mean_loss(model, batch) + mean_loss(model, batch)


def penalised(model: Any, batch: Any) -> Tensor:
    return mean_loss(model, batch) + sum(p.square().sum() for p in model.parameters())


ZEROS = nn.Linear(64, 10)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            custom(None),
            "but Task.model is a Custom, which cannot be cut by itself; allowed: 1, or a plain nn.Seq",
        ),
        (custom(lambda m: [m.first, m.last]), "Task.stages: the model's parameter scale is in no stage"),
        (
            custom(lambda m: [m, nn.Linear(10, 10)]),
            "Task.stages: Linear has weight, which is no parameter of Task",
        ),
        (custom(lambda m: [m]), "but Task.stages has 1 layer; allowed: 1"),
        (custom(lambda m: []), "Task.stages: no stage given"),
        (custom(lambda m: [m, torch.relu]), "is no stage; allowed: torch.nn.Modules"),
        (custom(lambda m: [m, nn.Softplus()]), "they must compute what the model's forward computes"),
        (
            custom(lambda m: [m, nn.Linear(3, 3).requires_grad_(False)]),
            "a batch through the stages failed: Runtime",
        ),
        (task(net(), twice), "Task.loss calls the model twice"),
        (task(net(), penalised), "Task.loss uses the model's 'parameters'"),
        (task(net(), lambda m, b: F.cross_entropy(ZEROS(b[0].flatten(1)), b[1])), "does not call the model"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_sentence_before_anything_starts(one: Task, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        check(one, spec(2), images())
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_one_stage_a_device_is_what_null_means_and_is_said() -> None:
    with pytest.raises(
        UserError, match="null, which means one for each of the 9 devices, but the model has 2 layers"
    ):
        cut(
            task(flat(nn.Linear(64, 10))),
            JobSpec(entrypoint="a:b", workers=Workers(devices=Devices(count=9))),
        )
