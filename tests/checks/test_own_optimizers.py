"""`Task.optimizer` in every strategy: it trains as the job's own does where both are one rule, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from asgd.algorithms.base import WorkerStrategy
from asgd.algorithms.registry import names
from asgd.errors import UserError
from asgd.kernel import F32
from asgd.task import Task
from asgd.wire.rule import with_rule
from asgd.worker.device.flat import Flat
from asgd.worker.optimizing.following import Following
from asgd.worker.optimizing.of_task import equip, rule_of
from asgd.world.models import ComputeTime, World
from tests.checks.crossings import (
    NOISE_FACTOR,
    NOISE_LEFT,
    STEP_SECONDS,
    STRATEGIES,
    Cell,
    Fields,
    Squares,
    plain,
    spec,
)
from tests.checks.virtual import job, simulation

GRADIENTS = {
    "asgd", "downpour", "staleness-aware", "dc-asgd", "fasgd", "ssp", "sync", "safeguard", "krum", "median",
    "geometric-median", "zeno",
}  # fmt: skip
"""Servers step."""
OWN = {"downpour", "fasgd", "eamsgd"}
"""Their rule is their own."""
LOCAL = [name for name in STRATEGIES if name not in GRADIENTS | OWN]
SERVERS = sorted(GRADIENTS - OWN)


class Parts(nn.Module):
    """The 48 weights of `Squares` as two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(16)), nn.Parameter(torch.zeros(32))


class OwnSquares(Squares):
    """`Squares` whose task has an optimizer of its own."""

    def __init__(self, fields: Fields, optimizer: Callable[[Any], torch.optim.Optimizer]) -> None:
        super().__init__()
        self.model = Parts()
        self.task = Task(model=self.model, loss=lambda *_: torch.zeros(()), data=[], optimizer=optimizer)
        spec = job(**fields).spec
        self.brought = rule_of(self.task, spec)
        self.spec, self.flat = with_rule(spec, self.brought), Flat(self.model, torch.device("cpu"))

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> Following | None:
        return equip(rule, self.task, self.spec, self.flat, (weights, gradient), brought=self.brought)


def fields_of(strategy: str, **optimizer: Any) -> tuple[Fields, float]:
    """The plain twin's fields without its optimizer's, and its learning rate."""
    fields = dict(spec(Cell(strategy)))
    rate = float(fields.pop("optimizer")["learningRate"])
    return fields | ({"optimizer": optimizer} if optimizer else {}), rate


def left(fields: Fields, optimizer: Callable[[Any], torch.optim.Optimizer]) -> float:
    """What is left of the first excess loss after training."""
    work = OwnSquares(fields, optimizer)
    world = World(compute=ComputeTime("lognormal", STEP_SECONDS, 0.1))
    done = simulation(job(**fields), work, world)
    assert done.run().stop_reason == "epochs"
    return work.left(done.answer(), 0.0)


def test_each_strategy_either_steps_locally_or_is_refused() -> None:
    assert {name.split(",")[0] for name in [*LOCAL, *SERVERS, *OWN]} == set(names())


@pytest.mark.parametrize("strategy", [*LOCAL, *SERVERS])
def test_torch_s_sgd_as_the_task_s_own_trains_as_the_job_s_sgd_does(strategy: str) -> None:
    fields, rate = fields_of(strategy)
    found = left(fields, lambda params: torch.optim.SGD(params, lr=rate))
    assert found == pytest.approx(plain(strategy, 0), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("strategy", "rate"), {"asgd, delta": 0.2, "easgd": 0.2, "diloco": 0.02, "parle": 0.2}.items()
)
def test_adamw_with_groups_and_a_schedule_trains(strategy: str, rate: float) -> None:
    fields, _ = fields_of(strategy, schedule={"name": "cosine", "length": 24, "final": 0.1})

    def optimizer(params: list[nn.Parameter]) -> torch.optim.Optimizer:
        first, second = params
        return torch.optim.AdamW(
            [{"params": [first], "lr": rate}, {"params": [second]}], lr=0.8 * rate, weight_decay=0.0
        )

    assert left(fields, optimizer) < max(0.05, NOISE_LEFT, NOISE_FACTOR * plain(strategy, 0))


@pytest.mark.parametrize("strategy", sorted(OWN))
def test_where_the_rule_is_the_strategy_s_own_a_sentence_names_the_way_out(strategy: str) -> None:
    with pytest.raises(UserError) as caught:
        left(spec(Cell(strategy)) if strategy == "eamsgd" else fields_of(strategy)[0], torch.optim.AdamW)
    assert f"{strategy} can't step by " in str(caught.value)
    assert "allowed: " in str(caught.value)


@pytest.mark.parametrize("strategy", sorted(set(SERVERS) - {"asgd"}))
def test_servers_without_its_rule_refuse_it_where_gradients_are_needed(strategy: str) -> None:
    fields, _ = fields_of(strategy)
    with pytest.raises(UserError, match=f"no rule for NAdam, and algorithm {strategy} needs one; allowed: "):
        left(fields, torch.optim.NAdam)


def test_the_default_algorithm_steps_in_the_workers_by_what_the_servers_lack() -> None:
    fields, _ = fields_of("asgd")
    assert left(fields, lambda params: torch.optim.NAdam(params, lr=0.05)) < 0.2
