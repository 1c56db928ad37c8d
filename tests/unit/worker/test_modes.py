"""What users froze stays frozen: each module's own mode, and the statistics of batch norm that does not train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.batch_norm import recompute
from asgd.worker.device.modes import evaluating, start_training

CPU = torch.device("cpu")


class Net(nn.Module):
    """Batch norm with statistics that no data has."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.drop, self.out = nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)
        assert self.bn.running_mean is not None
        self.bn.running_mean.fill_(7.0)

    def forward(self, x: Any) -> Any:
        return self.out(self.drop(self.bn(x)))


class KeepsItFrozen(Net):
    """Its `train` leaves batch norm in evaluation mode."""

    def train(self, mode: bool = True) -> KeepsItFrozen:
        super().train(mode)
        self.bn.eval()
        return self


def by_eval() -> Net:
    net = Net()
    net.bn.eval()
    return net


def by_train() -> Net:
    return KeepsItFrozen().train()


def by_its_weights() -> Net:
    net = Net()
    net.bn.requires_grad_(False)
    return net


def mean_after_recompute(net: Net) -> float:
    x = torch.randn(64, 4)
    task = Task(
        model=net,
        loss=lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1]),
        data=TensorDataset(x, x[:, :1]),
    )
    recompute(task, JobSpec(entrypoint="mine:task"), CPU)
    assert net.bn.running_mean is not None
    return float(net.bn.running_mean.abs().max())


@pytest.mark.parametrize("freeze", [by_eval, by_train, by_its_weights])
def test_statistics_of_a_frozen_batch_norm_are_not_measured_anew(freeze: Any) -> None:
    assert mean_after_recompute(freeze()) == 7.0


def test_statistics_of_a_batch_norm_that_trains_are_measured_anew() -> None:
    assert mean_after_recompute(Net()) < 1.0


def test_training_leaves_a_module_that_its_user_put_into_evaluation_mode_there_and_names_it() -> None:
    net = nn.Sequential(by_eval(), Net())
    assert start_training(net) == ["0.bn"]
    assert net[1].bn.training and net[0].drop.training and not net[0].bn.training


def test_a_model_that_is_handed_over_in_evaluation_mode_trains_as_a_whole() -> None:
    net = Net().eval()
    assert start_training(net) == []
    assert net.bn.training and net.drop.training
    keeps = KeepsItFrozen().eval()
    assert start_training(keeps) == ["bn"], "but for what its own `train` says"


def test_each_module_has_its_own_mode_again_after_an_evaluation_also_after_one_that_fails() -> None:
    net = by_eval()
    with pytest.raises(ZeroDivisionError), evaluating(net):
        assert not any(module.training for module in net.modules())
        raise ZeroDivisionError
    assert net.training and net.drop.training and not net.bn.training
