"""What `asgd.connect(model)` shows of the job's parameter groups, and what they mean for parameters that are frozen."""

from __future__ import annotations

import pytest
import torch

from asgd.errors import UserError
from asgd.session import decay_of_frozen, named
from tests.unit.worker.own_rig import Job
from tests.unit.worker.test_own_model import Net, step

GROUPS = [{"match": "*.bias", "weightDecay": 0}, {"match": "head.*", "learningRate": "4x"}]
OPTIMIZER = {"learningRate": 0.125, "weightDecay": 0.5, "groups": GROUPS}


def test_param_groups_are_the_jobs_with_their_own_rates_and_decays() -> None:
    model = Net()
    optimizer = Job(optimizer=OPTIMIZER).connect(model)
    found = [(len(group["params"]), group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert found == [(2, 0.125, 0), (1, 0.5, 0.5), (1, 0.125, 0.5)]
    assert optimizer.param_groups[1]["params"][0] is model.head.weight


def test_a_schedule_is_shown_in_each_group_and_is_no_change_of_the_scripts() -> None:
    schedule = {"name": "step", "unit": "samples", "every": 4, "gamma": 0.5}
    model = Net()
    optimizer = Job(optimizer={**OPTIMIZER, "schedule": schedule}).connect(model)
    with torch.random.fork_rng():
        for _ in range(3):
            step(model, optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates[1] == 4 * rates[0] == 4 * rates[2] and rates[0] < 0.125


def test_frozen_parameters_may_be_named_where_their_group_does_not_shrink_them() -> None:
    model = Net()
    model.backbone.requires_grad_(False)
    still = Job(optimizer={**OPTIMIZER, "groups": [{"match": "backbone.*", "weightDecay": 0}]}).spec.optimizer
    shrinks = Job(
        optimizer={**OPTIMIZER, "weightDecay": 0, "groups": [{"match": "backbone.*", "weightDecay": 1}]}
    )
    assert len(named(model, ["backbone.*"], decay_of_frozen(still, model, None))) == 2
    with pytest.raises(UserError, match=r"weight decay 1 .* would shrink backbone"):
        named(model, ["backbone.*"], decay_of_frozen(shrinks.spec.optimizer, model, None))
