"""`optimizer.step(loss={...})` of an own loop: the loss and what stands beside it go along with the push."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asgd.errors import UserError
from tests.unit.worker.own_rig import Job


def test_a_dict_of_an_own_loop_is_told_and_plain_losses_are_as_before() -> None:
    job = Job()
    model = nn.Linear(2, 1)
    optimizer = job.connect(model)
    for kl in (1.0, 3.0):
        optimizer.zero_grad()
        loss = model(torch.ones(4, 2)).pow(2).mean()
        loss.backward()
        optimizer.step(loss={"loss": loss, "kl": torch.tensor(kl), "steps": 2})
    optimizer.zero_grad()
    model(torch.ones(4, 2)).mean().backward()
    optimizer.step(loss=0.5)
    pushes = [push for push in job.pushes if push.steps]
    assert [push.scalars for push in pushes] == [{"kl": 1.0, "steps": 2.0}, {"kl": 3.0, "steps": 2.0}, {}]
    assert pushes[-1].loss == 0.5 and all(push.loss is not None for push in pushes)


def test_what_is_no_number_is_refused_in_one_sentence() -> None:
    optimizer = Job().connect(nn.Linear(2, 1))
    with pytest.raises(
        UserError, match=r"^optimizer.step got a loss with 'kl': str; allowed: a number or a scalar"
    ):
        optimizer.step(loss={"loss": 1.0, "kl": "much"})
