"""`Task.optimizer` where servers apply gradients, and `Task.schedulers`: one worker is plain PyTorch, others share one
schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler as lrs

import asgd
from asgd.errors import UserError
from asgd.worker.optimizing.following import Following
from asgd.worker.optimizing.schedules import Scheduled, steps_of
from asgd.worker.task.check import look
from tests.checks.harness import job_spec
from tests.users.alone import work_alone
from tests.users.test_own_optimizer import apart, grouped
from tests.users.toys import net, points

STEPS, BATCH = 100, 8
Make = Callable[[Any], torch.optim.Optimizer]
Schedulers = Callable[[torch.optim.Optimizer], Any]


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    return lrs.OneCycleLR(optimizer, [0.02] * len(optimizer.param_groups), total_steps=STEPS)


def by_epochs(optimizer: torch.optim.Optimizer) -> Any:
    return [{"scheduler": lrs.StepLR(optimizer, 1, 0.5), "interval": "epoch"}]


def warm(optimizer: torch.optim.Optimizer) -> Any:
    return lrs.LinearLR(optimizer, 0.1, total_iters=30)


MADE: dict[str, tuple[Make, Schedulers | None]] = {
    "AdamW with groups": (grouped, None),
    "AdamW with groups, OneCycleLR": (grouped, one_cycle),
    "momentum, OneCycleLR that cycles it": (lambda p: torch.optim.SGD(p, 0.05, 0.9), one_cycle),
    "RMSprop, halved each epoch": (lambda p: torch.optim.RMSprop(p, 1e-3), by_epochs),
    "Adam, warm-up": (lambda p: torch.optim.Adam(p, 2e-3), warm),
    "NAdam, warm-up: no rule of the servers": (lambda p: torch.optim.NAdam(p, 2e-3), warm),
}


def trained(
    folder: Path, make: Make, schedulers: Schedulers | None, **spec: Any
) -> tuple[nn.Module, list[Any]]:
    """A worker's model when it computed its last gradient, and the batches before that."""
    model, last, seen = net(), net(), []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(batch)
        last.load_state_dict(model.state_dict())
        return F.cross_entropy(model(batch[0]), batch[1])

    task = asgd.Task(model=model, loss=loss, data=points(), optimizer=make, schedulers=schedulers)
    assert work_alone(folder, task, optimizer={}, batchSize=BATCH, **spec) == 0
    return last, seen[:-1]


def plainly(make: Make, schedulers: Schedulers | None, batches: list[Any]) -> nn.Module:
    """The same in plain PyTorch: a step a batch, epochs where the data end."""
    model, samples, size = net(), 0, len(points())
    optimizer = make([*model.parameters()])
    given = schedulers(optimizer) if schedulers else []
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        before, samples = samples, samples + len(x)
        for each in given if isinstance(given, list) else [given]:
            if not isinstance(each, dict):
                each.step()
            elif samples // size > before // size:
                each["scheduler"].step()
    return model


@pytest.mark.parametrize("name", MADE)
def test_one_worker_takes_the_steps_of_plain_pytorch(name: str, tmp_path: Path) -> None:
    make, schedulers = MADE[name]
    model, batches = trained(tmp_path, make, schedulers, stopAfter={"updates": STEPS})
    assert len(batches) >= STEPS - 1
    assert apart(model, plainly(make, schedulers, batches)) < 2e-5
    assert apart(model, net()) > 0.01


@pytest.mark.parametrize(
    "spec",
    [
        {"exchange": {"pushEvery": 4, "fetchEvery": 4}, "algorithm": {"name": "asgd"}},
        {"exchange": {"pushEvery": 4, "fetchEvery": 4, "ahead": 1}, "algorithm": {"name": "asgd"}},
        {"algorithm": {"name": "diloco", "period": 10, "outerLearningRate": 1.0, "outerMomentum": 0.0}},
    ],
    ids=["pushEvery", "ahead", "diloco"],
)
def test_local_steps_follow_the_schedulers_between_exchanges_too(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    model, batches = trained(tmp_path, grouped, one_cycle, stopAfter={"samples": BATCH * STEPS}, **spec)
    assert apart(model, plainly(grouped, one_cycle, batches)) < 2e-5


def test_a_worker_s_schedule_goes_by_the_samples_of_all_and_one_that_is_late_catches_up() -> None:
    optimizer = torch.optim.SGD(net().parameters(), 1.0)
    scheduler = lrs.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    follow = Following([Scheduled(scheduler)], 80, 8)
    follow(0, 800, 0)  # it joins at the end of the tenth epoch
    assert scheduler.last_epoch == 100
    follow(8, 824, 0)  # its own step, and two of others
    assert scheduler.last_epoch == 103
    follow(8, 824, 0)  # one that is not pushed yet
    assert scheduler.last_epoch == 104
    follow(0, 160, 1)  # the job has gone back: the schedule waits for it
    assert scheduler.last_epoch == 104


def test_the_short_batch_of_each_epoch_is_a_step() -> None:
    assert [steps_of(samples, 20, 8, 0, 0) for samples in (8, 16, 20, 28, 40)] == [1, 2, 3, 4, 6]
    assert steps_of(48, None, 8, 3, 24) == 6


def entry(**spec: Any) -> Any:
    return job_spec(entrypoint="tests.users.test_task_schedulers:made", batchSize=8, **spec)


WRONG: dict[str, Any] = {
    "nothing": lambda optimizer: None,
    "plateau": lrs.ReduceLROnPlateau,
    "another": lambda optimizer: lrs.StepLR(torch.optim.SGD(net().parameters(), 1.0), 1),
    "interval": lambda optimizer: {"scheduler": lrs.StepLR(optimizer, 1), "interval": "minute"},
    "key": lambda optimizer: {"scheduler": lrs.StepLR(optimizer, 1), "monitor": "loss"},
    "raises": lambda optimizer: 1 / 0,
    "fine": lambda optimizer: lrs.StepLR(optimizer, 1),
}


def made(what: str, optimizer: bool = True) -> asgd.Task:
    return asgd.Task(
        model=net(), loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), data=points(),
        optimizer=torch.optim.AdamW if optimizer else None, schedulers=WRONG[what],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "spec", "said"),
    [
        ({"what": "nothing"}, {}, "Task.schedulers gave NoneType; allowed: a scheduler of torch"),
        ({"what": "plateau"}, {}, "ReduceLROnPlateau follows a metric"),
        ({"what": "another"}, {}, "StepLR moves another optimizer"),
        ({"what": "interval"}, {}, "interval 'minute', frequency 1; allowed:"),
        ({"what": "key"}, {}, "has 'monitor'; allowed:"),
        ({"what": "raises"}, {}, "Task.schedulers failed: ZeroDivisionError"),
        ({"what": "fine", "optimizer": False}, {}, "Task.schedulers move Task.optimizer, and there is none"),
        (
            {"what": "fine"},
            {"optimizer": {"schedule": {"name": "cosine", "length": 3}}},
            "spec.optimizer.schedule stands beside Task.schedulers, and both move the learning rate; allowed: one",
        ),
    ],
)
def test_wrong_schedulers_are_told_in_a_sentence_before_the_start(
    args: dict[str, Any], spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        look(entry(args=args, **spec))
    assert said in str(caught.value)
