"""Schedulers follow the job's samples: what is stepped beside each step, and what once an epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from asgd.worker.own.pacing import Pace, follow

BATCH = 8


def made() -> tuple[torch.optim.Optimizer, Pace]:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 1.0, momentum=0.9)
    return optimizer, follow(optimizer)


def go(pace: Pace, optimizer: torch.optim.Optimizer, scheduler: Any, steps: int, workers: int) -> None:
    """Steps of one worker of so many that are as quick as it."""
    for _ in range(steps):
        optimizer.step()
        pace.stepped(BATCH, workers * (pace.own + BATCH))
        scheduler.step()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_scheduler_beside_each_step_goes_by_the_steps_of_all_workers(workers: int) -> None:
    optimizer, pace = made()
    scheduler = lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=100)
    pace.passing = True
    go(pace, optimizer, scheduler, 10, workers)
    assert scheduler.last_epoch == 10 * workers
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1 - workers / 10)


def test_shares_of_a_step_are_kept_for_the_next_one() -> None:
    optimizer, pace = made()
    scheduler = lr_scheduler.StepLR(optimizer, 1000)
    pace.passing = True
    for step in range(1, 7):
        optimizer.step()
        pace.stepped(BATCH, pace.own + BATCH + step * BATCH // 2)
        scheduler.step()
    assert scheduler.last_epoch == 6 + 3


def test_a_worker_that_comes_late_begins_where_the_job_is() -> None:
    optimizer, pace = made()
    scheduler = lr_scheduler.StepLR(optimizer, 1000)
    pace.passing = True
    optimizer.step()
    pace.stepped(BATCH, 51 * BATCH)
    scheduler.step()
    assert scheduler.last_epoch == 51


def test_a_scheduler_that_was_loaded_is_where_it_belongs() -> None:
    optimizer, pace = made()
    scheduler = lr_scheduler.StepLR(optimizer, 1000)
    scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": 50})
    pace.passing = True
    optimizer.step()
    pace.stepped(BATCH, 51 * BATCH)
    scheduler.step()
    assert scheduler.last_epoch == 51


def test_a_pass_over_dealt_data_is_an_epoch_of_the_job_already() -> None:
    optimizer, pace = made()
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    for epoch in range(3):
        pace.passing = True
        optimizer.step()
        pace.stepped(BATCH, 4 * (pace.own + BATCH))
        pace.ended(epoch)
        scheduler.step()
    assert scheduler.last_epoch == 3
    late, other = made()
    second = lr_scheduler.StepLR(late, 1)
    other.passing = True
    late.step()
    other.stepped(BATCH, 9 * BATCH)
    other.ended(2)
    second.step()
    assert second.last_epoch == 3


def test_other_workers_steps_do_not_carry_onecyclelr_beyond_its_end_and_the_scripts_own_do() -> None:
    optimizer, pace = made()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10)
    pace.passing = True
    go(pace, optimizer, scheduler, 5, 4)
    assert scheduler.last_epoch == 10
    alone, own = made()
    plain = lr_scheduler.OneCycleLR(alone, 1.0, total_steps=3)
    own.passing = True
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        go(own, alone, plain, 5, 1)


def test_schedulers_of_schedulers_and_those_that_go_by_a_metric_are_stepped_once_for_each() -> None:
    optimizer, pace = made()
    first, second = lr_scheduler.ConstantLR(optimizer, 1.0, 6), lr_scheduler.ExponentialLR(optimizer, 0.5)
    scheduler = lr_scheduler.SequentialLR(optimizer, [first, second], [6])
    pace.passing = True
    go(pace, optimizer, scheduler, 4, 2)
    assert (scheduler.last_epoch, second.last_epoch) == (8, 2)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    for loss in (1.0, 1.0, 1.0):
        pace.stepped(BATCH, 10 * pace.own)
        plateau.step(loss)
    assert plateau.last_epoch == 3


def test_schedulers_of_other_optimizers_are_left_alone() -> None:
    made()
    other = torch.optim.SGD(nn.Linear(1, 1).parameters(), 1.0)
    scheduler = lr_scheduler.StepLR(other, 1)
    other.step()
    scheduler.step()
    assert scheduler.last_epoch == 1
