"""Which of the servers' rules a script's optimizer is, by class and option, and what each strategy makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from asgd.algorithms.registry import names
from asgd.errors import UserError
from asgd.spec.types import Group, Optimizer
from asgd.wire.rule import Rule, pack, unpack
from asgd.worker.optimizing.placing import ON_SERVERS, OWN, place
from asgd.worker.optimizing.rules import groups_of
from tests.checks.virtual import job

O = torch.optim  # noqa: E741
Make = Callable[[Any], torch.optim.Optimizer]


class Own(torch.optim.AdamW):
    """A subclass may step otherwise."""


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))


def placed(make: Make, net: nn.Module | None = None, **spec: Any) -> Rule:
    net = net or model()
    optimizer = make(net)
    trained = {id(p): name for name, p in net.named_parameters() if p.requires_grad}
    groups = groups_of(optimizer, net, trained)
    held = {name for group in groups for name in group.parameters}
    made, out = job(**{"optimizer": {}, **spec}), [n for n in trained.values() if n not in held]
    rule = place(made.spec, optimizer, groups, out, document=made.document)
    assert unpack(pack(rule)) == rule
    return rule


@pytest.mark.parametrize(
    ("make", "optimizer"),
    [
        (lambda m: O.SGD(m.parameters(), 0.5), Optimizer(learning_rate=0.5)),
        (
            lambda m: O.SGD(m.parameters(), torch.tensor(0.5), 0.9, weight_decay=0.125, nesterov=True, foreach=True),
            Optimizer(learning_rate=0.5, momentum=0.9, weight_decay=0.125, nesterov=True),
        ),
        (
            lambda m: O.Adam(m.parameters(), 0.5, (0.8, 0.9), 1e-6, 0.125, fused=True),
            Optimizer(name="adam", learning_rate=0.5, betas=(0.8, 0.9), epsilon=1e-6, weight_decay=0.125),
        ),
        (
            lambda m: O.AdamW(m.parameters(), 0.5, capturable=True),
            Optimizer(name="adamw", learning_rate=0.5, weight_decay=0.01),
        ),
        (
            lambda m: O.Adagrad(m.parameters(), 0.5, weight_decay=0.125, eps=1e-6),
            Optimizer(name="adagrad", learning_rate=0.5, weight_decay=0.125, epsilon=1e-6),
        ),
        (
            lambda m: O.RMSprop(m.parameters(), 0.5, 0.75, 1e-6, 0.125, 0.5, True),
            Optimizer(
                name="rmsprop", learning_rate=0.5, alpha=0.75, epsilon=1e-6, weight_decay=0.125, momentum=0.5,
                centered=True,
            ),
        ),
        (
            lambda m: O.Adadelta(m.parameters(), 0.5, 0.75, 1e-3, 0.125),
            Optimizer(name="adadelta", learning_rate=0.5, rho=0.75, epsilon=1e-3, weight_decay=0.125),
        ),
    ],
)  # fmt: skip
def test_each_option_of_a_class_that_servers_know_becomes_a_field(make: Make, optimizer: Optimizer) -> None:
    assert placed(make).optimizer == optimizer


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda m: Own(m.parameters()), "no rule for Own"),
        (lambda m: O.NAdam(m.parameters()), "no rule for NAdam"),
        (lambda m: O.SGD(m.parameters(), 0.1, 0.9, dampening=0.5), "no SGD with dampening=0.5"),
        (lambda m: O.SGD(m.parameters(), 0.1, maximize=True), "no SGD with maximize=True"),
        (lambda m: O.Adam(m.parameters(), amsgrad=True), "no Adam with amsgrad=True"),
        (lambda m: O.AdamW(m.parameters(), maximize=True), "no AdamW with maximize=True"),
        (lambda m: O.Adagrad(m.parameters(), lr_decay=0.5), "no Adagrad with lr_decay=0.5"),
        (
            lambda m: O.Adagrad(m.parameters(), initial_accumulator_value=1),
            "with initial_accumulator_value=1",
        ),
        (
            lambda m: O.RMSprop([{"params": m[0].parameters()}, {"params": m[1].parameters(), "alpha": 0.5}]),
            "the servers' groups have one alpha for all",
        ),
    ],
)
def test_what_servers_do_not_know_is_run_in_each_worker_and_the_reason_is_told(make: Make, why: str) -> None:
    rule = placed(make)
    assert rule.optimizer is None and why in rule.why and rule.why.endswith("(algorithm.mode: delta)")


def test_groups_have_all_that_is_their_own_and_what_is_in_none_stays_as_it_is() -> None:
    def make(net: Any) -> torch.optim.Optimizer:
        one = {"params": [net[0].weight], "lr": 0.0}
        return O.SGD([one, {"params": [net[0].bias], "momentum": 0.5}], 0.25, weight_decay=0.125)

    rule = placed(make)
    assert [group["params"] for group in rule.groups] == [["0.weight"], ["0.bias"]]
    found = rule.optimizer
    assert found and found.learning_rate == 0.25
    first, second, rest = found.groups
    assert (first.match, first.learning_rate, first.momentum, first.weight_decay) == (
        ("0.weight",),
        0,
        0,
        0.125,
    )
    assert (second.match, second.learning_rate, second.momentum) == (("0.bias",), 0.25, 0.5)
    assert rest == Group(match=("1.weight", "1.bias"), learning_rate=0.0, weight_decay=0.0)


def test_frozen_parameters_in_a_group_do_not_count() -> None:
    net = model()
    net[0].requires_grad_(False)  # type: ignore[index]
    rule = placed(lambda m: O.AdamW([{"params": m[0].parameters()}, {"params": m[1].parameters()}]), net)
    assert len(rule.groups) == 1 and rule.optimizer and not rule.optimizer.groups


def test_names_are_names_and_no_patterns() -> None:
    net = nn.ParameterDict({"a*": nn.Parameter(torch.zeros(1)), "ab": nn.Parameter(torch.zeros(1))})
    rule = placed(lambda m: O.SGD([{"params": [m["a*"]]}, {"params": [m["ab"]]}], 0.1), net)
    assert rule.optimizer and [group.match for group in rule.optimizer.groups] == [("a[*]",), ("ab",)]


def test_a_rate_that_a_scheduler_has_moved_already_is_told_as_it_was() -> None:
    def make(net: Any) -> torch.optim.Optimizer:
        optimizer = O.SGD(net.parameters(), 0.5)
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
        return optimizer

    rule = placed(make)
    assert rule.groups[0]["lr"] == "0.5" and rule.optimizer and rule.optimizer.learning_rate == 0.5


FIELDS = {"eamsgd": {"optimizer": {"momentum": 0.9}}}
"""Of strategies that a job can't name without them."""


@pytest.mark.parametrize("name", names())
def test_every_strategy_runs_an_optimizer_on_the_servers_or_in_workers_or_refuses_it_in_a_sentence(
    name: str,
) -> None:
    spec = {"algorithm": {"name": name}, "workers": {"replicas": 8}, **FIELDS.get(name, {})}
    known: Make = lambda m: O.AdamW(m.parameters())  # noqa: E731
    other: Make = lambda m: O.NAdam(m.parameters())  # noqa: E731
    if name in OWN:
        for make in (known, other):
            with pytest.raises(UserError, match=f"algorithm {name} can't step by the script's"):
                placed(make, **spec)
        return
    assert (placed(known, **spec).optimizer is not None) is (name in ON_SERVERS)
    if name not in ON_SERVERS or name == "asgd":
        assert placed(other, **spec).optimizer is None
        return
    with pytest.raises(
        UserError, match=f"the servers have no rule for NAdam, and algorithm {name} needs one"
    ):
        placed(other, **spec)
