"""`Task.optimizer`: one worker steps as plain PyTorch does with that optimizer, its groups and a scheduler."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import asgd
from asgd.algorithms.registry import halves
from asgd.errors import UserError
from asgd.spec.types import JobSpec
from asgd.worker.device.flat import Flat
from asgd.worker.optimizing.of_task import equip
from asgd.worker.optimizing.stepping import TaskOptimizer
from asgd.worker.task.check import look
from tests.checks.harness import job_spec
from tests.users.alone import work_alone
from tests.users.toys import net, points

STEPS, CPU = 200, torch.device("cpu")
Make = Callable[[Any], torch.optim.Optimizer]
Batches = list[tuple[Tensor, Tensor]]
LOCAL: dict[str, Any] = {"name": "asgd", "mode": "delta"}


def grouped(params: Any) -> torch.optim.Optimizer:
    """No decay on biases, ten times the rate for the head."""
    biases = [p for p in params if p.ndim == 1]
    first, head = (p for p in params if p.ndim > 1)
    groups = [
        {"params": biases, "weight_decay": 0.0}, {"params": [head], "lr": 1e-2}, {"params": [first]}
    ]  # fmt: skip
    return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1)


OPTIMIZERS: dict[str, Make] = {
    "AdamW with groups": grouped,
    "Nesterov": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=1e-3),
    "Adagrad": lambda params: torch.optim.Adagrad(params, lr=0.05, initial_accumulator_value=0.1),
    "NAdam": lambda params: torch.optim.NAdam(params, lr=2e-3),
    "capturable rate": lambda params: torch.optim.Adam(params, lr=torch.tensor(1e-3), foreach=False),
}
SCHEDULE = {"name": "cosine", "unit": "samples", "warmup": 160, "length": 8 * STEPS, "final": 0.1}


def factor(step: int) -> float:
    """What `SCHEDULE` is after so many steps of eight samples."""
    if 8 * step < 160:
        return 8 * step / 160
    done = min(1.0, (8 * step - 160) / (8 * STEPS - 160))
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))


def trained(folder: Path, make: Any, **spec: Any) -> tuple[nn.Module, Batches]:
    """A worker's model after `STEPS` steps, and the batches that it has seen."""
    model, seen = net(), Batches()

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(batch)
        return F.cross_entropy(model(batch[0]), batch[1])

    optimizer = make(model) if isinstance(make, type(lambda: 0)) and make.__name__ == "instance" else make
    task = asgd.Task(model=model, loss=loss, data=points(), optimizer=optimizer)
    fields: dict[str, Any] = {"algorithm": LOCAL, "optimizer": {}, "stopAfter": {"samples": 8 * STEPS}}
    assert work_alone(folder, task, **(fields | spec)) == 0
    return model, seen


def plainly(make: Make, batches: Batches, schedule: bool = False) -> nn.Module:
    """The same in plain PyTorch."""
    model = net()
    optimizer = make([*model.parameters()])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor) if schedule else None
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return model


def apart(one: nn.Module, other: nn.Module) -> float:
    """The largest difference between two models' parameters."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_hundred_steps_are_those_of_plain_pytorch_with_a_scheduler(name: str, tmp_path: Path) -> None:
    model, batches = trained(tmp_path, OPTIMIZERS[name], optimizer={"schedule": SCHEDULE})
    assert len(batches) == STEPS
    plain = plainly(OPTIMIZERS[name], batches, schedule=True)
    assert apart(model, plain) < 2e-5
    assert apart(model, net()) > 0.01


@pytest.mark.parametrize(
    "spec",
    [
        {"codec": {"pull": "fp32"}, "optimizer": {"clipNorm": 1e9}},
        {"exchange": {"pushEvery": 4, "fetchEvery": 4}, "algorithm": {"name": "asgd"}},
        {"exchange": {"pushEvery": 4, "fetchEvery": 4, "ahead": 1}, "algorithm": {"name": "asgd"}},
        {"algorithm": {"name": "local-sgd", "period": 5}},
        {"algorithm": {"name": "diloco", "period": 10, "outerLearningRate": 1.0, "outerMomentum": 0.0}},
    ],
    ids=lambda spec: "-".join(spec),
)
def test_its_state_is_kept_over_pulls(spec: dict[str, Any], tmp_path: Path) -> None:
    model, batches = trained(tmp_path, grouped, **spec)
    assert apart(model, plainly(grouped, batches)) < 2e-5


def test_an_optimizer_that_was_made_of_the_model_s_parameters_is_kept(tmp_path: Path) -> None:
    def instance(model: nn.Module) -> torch.optim.Optimizer:
        return grouped([*model.parameters()])

    model, batches = trained(tmp_path, instance)
    assert apart(model, plainly(grouped, batches)) < 2e-5


# -- where a strategy forgets ------------------------------------------------------------------------


def rule_of(make: Any, model: nn.Module, **spec: Any) -> tuple[TaskOptimizer, Flat]:
    one = job_spec(algorithm=LOCAL, **spec)
    rule, flat = halves(one).worker(), Flat(model, CPU)
    equip(rule, task_of(make, model), one, flat)
    assert isinstance(rule.optimizer, TaskOptimizer)
    return rule.optimizer, flat


def task_of(make: Any, model: nn.Module | None = None) -> asgd.Task:
    return asgd.Task(
        model=model or net(), optimizer=make, data=points(),
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    )  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_who_begins_anew_steps_as_at_the_first_time(name: str) -> None:
    rule, flat = rule_of(OPTIMIZERS[name], net())
    begin = flat.weights.clone()
    ends = []
    for _ in range(3):
        flat.weights[:] = begin
        rule.forget()
        for step in range(3):
            flat.grads[:] = torch.linspace(-1, 1, flat.size) * (step + 1)
            rule.step(flat.weights, flat.grads, 1 / (step + 1), flat.grads)
        ends.append(flat.weights.clone())
    assert not torch.equal(begin, ends[0])
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])


def test_a_rate_that_the_optimizer_moves_itself_is_left_alone() -> None:
    optimizer = torch.optim.SGD([*(model := net()).parameters()], lr=0.5)
    rule, flat = rule_of(optimizer, model)
    optimizer.param_groups[0]["lr"] = 0.125
    flat.grads.fill_(1.0)
    before = flat.weights.clone()
    rule.step(flat.weights, flat.grads, 1.0, flat.grads)
    assert torch.allclose(before - flat.weights, torch.full_like(before, 0.125), atol=1e-6)


# -- what is refused ---------------------------------------------------------------------------------


class Closing(torch.optim.SGD):
    def step(self, closure: Any) -> Any:  # type: ignore[override]
        return super().step(closure)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (7, "is int; allowed: a torch.optim.Optimizer, or a function"),
        (lambda params: None, "returned NoneType; allowed: a torch.optim.Optimizer"),
        (lambda params: 1 / 0, "failed: ZeroDivisionError"),
        (torch.optim.LBFGS, "LBFGS.step needs a closure"),
        (Closing, "Closing.step needs a closure"),
        (
            lambda params: torch.optim.SGD(net().parameters()),
            "holds a tensor that is no parameter of Task.model",
        ),
    ],
)
def test_what_is_no_optimizer_of_this_model_is_told_in_a_sentence(make: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        rule_of(make, net())
    assert said in str(caught.value)
    assert "Task.optimizer" in str(caught.value)


def test_one_of_frozen_parameters_only_is_refused() -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    with pytest.raises(UserError, match="holds no trained parameter"):
        rule_of(torch.optim.SGD([model[0].weight]), model)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ({"learningRate": 0.05}, "spec.optimizer.learningRate: 0.05 stands beside Task.optimizer"),
        ({"momentum": 0.9}, "spec.optimizer.momentum: 0.9 stands beside"),
        ({"weightDecay": 0.1}, "spec.optimizer.weightDecay: 0.1 stands beside"),
        ({"name": "adam"}, "spec.optimizer.name: adam stands beside"),
    ],
)
def test_what_two_optimizers_would_say_is_refused(optimizer: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        rule_of(torch.optim.AdamW, net(), optimizer=optimizer)
    assert str(caught.value).startswith(said)
    assert "schedule" in str(caught.value) and "clipNorm" in str(caught.value)


def sparse_only() -> asgd.Task:
    return task_of(torch.optim.SparseAdam)


def adamw(sure: bool = True) -> asgd.Task:
    return task_of(torch.optim.AdamW)


def entry(name: str, **spec: Any) -> JobSpec:
    return job_spec(entrypoint=f"tests.users.test_own_optimizer:{name}", batchSize=8, **spec)


def test_a_step_is_tried_before_the_start() -> None:
    with pytest.raises(
        UserError, match=r"a step of Task.optimizer failed: RuntimeError: SparseAdam does not"
    ):
        look(entry("sparse_only", algorithm=LOCAL))
    assert look(entry("adamw", algorithm=LOCAL)).size


MOMENTUM = {"momentum": 0.5}


def nadam() -> asgd.Task:
    return task_of(torch.optim.NAdam)


@pytest.mark.parametrize(
    ("name", "algorithm", "said"),
    [
        (
            "adamw",
            "downpour",
            "Task.optimizer: algorithm downpour can't step by the task's AdamW, for its rule is",
        ),
        (
            "adamw",
            "eamsgd",
            "spec.algorithm.name: eamsgd can't step by Task.optimizer, for its step is Nesterov",
        ),
        (
            "nadam",
            "sync",
            "Task.optimizer: the servers have no rule for NAdam, and algorithm sync needs one; allowed:",
        ),
    ],
)
def test_what_a_strategy_can_t_step_by_is_refused_before_the_start(
    name: str, algorithm: str, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        look(entry(name, algorithm={"name": algorithm}, optimizer=MOMENTUM if algorithm == "eamsgd" else {}))
    assert str(caught.value).startswith(said) and "allowed: " in str(caught.value)
