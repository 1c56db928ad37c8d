"""What a script does to its model after `asgd.connect()` counts, or is refused by a sentence with its name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from asgd.errors import UserError
from asgd.session import named
from asgd.worker.own.connection import Connection
from tests.unit.worker.own_rig import Job


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.backbone(x)))  # type: ignore[no-any-return]


X = torch.ones(4, 3)


def step(model: nn.Module, optimizer: Any) -> float:
    optimizer.zero_grad()
    loss = (model(X) - 2).pow(2).mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


DELTA = {"algorithm": {"name": "asgd", "mode": "delta"}}
DILOCO = {"algorithm": {"name": "diloco"}}

# -- before the first step -------------------------------------------------------------------------


def answer(model: Net) -> None:
    model.load_state_dict({name: torch.full_like(value, 0.5) for name, value in model.state_dict().items()})


def by_data(model: Net) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(0.5)


def exchanged(model: Net) -> None:
    for parameter in model.parameters():
        parameter.data = torch.full_like(parameter, 0.5)


@pytest.mark.parametrize("load", [answer, by_data, exchanged])
@pytest.mark.parametrize("spec", [{}, DELTA, DILOCO])
def test_weights_loaded_after_connect_are_what_the_job_starts_from(
    load: Callable[[Net], None], spec: dict[str, Any]
) -> None:
    job, model = Job(**spec), Net()
    optimizer = job.connect(model)
    load(model)
    model(X)
    assert job.weights is not None
    assert (job.weights == 0.5).all()
    step(model, optimizer)


def test_a_worker_that_comes_later_takes_the_jobs_weights_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job, first, second = Job(), Net(), Net()
    step(first, job.connect(first))
    optimizer = job.connect(second, 1)
    answer(second)
    optimizer.zero_grad()
    assert torch.equal(second.head.weight, first.head.weight)
    said = capsys.readouterr()
    assert "worker 1: the job has weights already, so what this script wrote into " in said.out + said.err


def test_a_job_that_was_trained_gives_its_weights_at_connect_and_keeps_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job, first, second = Job(), Net(), Net()
    step(first, job.connect(first))
    optimizer = job.connect(second, 1)
    optimizer.join()
    assert torch.equal(second.head.weight, first.head.weight)
    target = copy.deepcopy(second)
    answer(second)
    step(second, optimizer)
    said = capsys.readouterr()
    assert "is replaced by the job's" in said.out + said.err
    assert not torch.equal(second.head.weight, torch.full((1, 3), 0.5))
    assert torch.equal(target.head.weight, first.head.weight)


def test_loading_the_jobs_own_weights_is_no_change(capsys: pytest.CaptureFixture[str]) -> None:
    job, model = Job(), Net()
    step(model, job.connect(model))
    again = Net()
    optimizer = job.connect(again, 1)
    optimizer.join()
    again.load_state_dict(model.state_dict())
    step(again, optimizer)
    said = capsys.readouterr()
    assert "replaced" not in said.out + said.err


def test_put_says_that_these_weights_are_meant() -> None:
    job, model = Job(), Net()
    optimizer = job.connect(model)
    answer(model)
    optimizer.put()
    assert job.weights is not None
    assert (job.weights == 0.5).all()


# -- between steps ---------------------------------------------------------------------------------


def clamp(model: Net) -> None:
    with torch.no_grad():
        model.backbone.weight.clamp_(-0.01, 0.01)


def clamp_data(model: Net) -> None:
    model.backbone.weight.data.clamp_(-0.01, 0.01)


def reinitialise(model: Net) -> None:
    nn.init.constant_(model.backbone.weight, 3.0)


def swap(model: Net) -> None:
    model.backbone.weight.data = torch.zeros(3, 3)


CHANGES = [clamp, clamp_data, reinitialise, swap]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spec", [{}, {"algorithm": {"name": "downpour"}}, {"algorithm": {"name": "easgd"}}])
def test_weights_written_between_steps_are_refused_by_name_where_the_next_pull_undoes_them(
    change: Callable[[Net], None], spec: dict[str, Any]
) -> None:
    model = Net()
    optimizer = Job(**spec).connect(model)
    step(model, optimizer)
    change(model)
    with pytest.raises(UserError, match=r"parameter backbone\.weight between two steps.*mode: delta"):
        step(model, optimizer)


@pytest.mark.parametrize("change", CHANGES)
def test_weights_written_between_steps_are_pushed_in_delta_mode(change: Callable[[Net], None]) -> None:
    torch.manual_seed(1)
    model, plain = Net(), Net()
    plain.load_state_dict(model.state_dict())
    optimizer, sgd = Job(**DELTA).connect(model), torch.optim.SGD(plain.parameters(), lr=0.1)
    for net, rule in ((model, optimizer), (plain, sgd)):
        for _ in range(3):
            step(net, rule)
            change(net)
    optimizer.close()
    assert optimizer._replica.centre.job.weights == pytest.approx(  # type: ignore[attr-defined]
        torch.cat([p.detach().flatten() for p in plain.parameters()]).numpy(), rel=1e-5, abs=1e-6
    )


def test_put_between_steps_is_refused_where_it_could_not_be_kept() -> None:
    model = Net()
    optimizer = Job().connect(model)
    step(model, optimizer)
    optimizer.put()
    clamp(model)
    with pytest.raises(UserError, match=r"parameter backbone\.weight"):
        optimizer.put()


@pytest.mark.parametrize("spec", [{}, {"algorithm": {"name": "easgd"}}, {"exchange": {"ahead": 1}}])
def test_weights_that_are_exchanged_for_an_evaluation_and_put_back_are_no_change(
    spec: dict[str, Any],
) -> None:
    model = Net()
    optimizer = Job(**spec).connect(model)
    for _ in range(3):
        step(model, optimizer)
        own = copy.deepcopy(model.state_dict())
        answer(model)
        model(X)
        model.load_state_dict(own)


def test_a_copy_of_the_model_made_after_connect_is_a_copy() -> None:
    model = Net()
    optimizer = Job().connect(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    for _ in range(3):
        step(model, optimizer)
        average.update_parameters(model)
    average(X)


# -- which parameters ------------------------------------------------------------------------------


def frozen(unfreezes: list[str] | None = None, **spec: Any) -> tuple[Net, Connection, Job]:
    model, job = Net(), Job(**spec)
    model.backbone.requires_grad_(False)
    return model, job.connect(model, 0, named(model, unfreezes or [], 0.0)), job  # type: ignore[arg-type]


def test_a_frozen_parameter_that_gets_a_gradient_is_refused_by_name() -> None:
    model, optimizer, job = frozen()
    step(model, optimizer)
    assert job.weights is not None
    assert job.weights.size == 4, "frozen ones cost nothing"
    model.backbone.requires_grad_(True)
    with pytest.raises(UserError, match=r'backbone\.\w+ was frozen.*unfreezes=\["backbone\*"\]'):
        step(model, optimizer)


def test_a_parameter_that_was_said_to_be_unfrozen_later_is_trained_from_then_on() -> None:
    model, optimizer, _ = frozen(["backbone.*"])
    before = model.backbone.weight.detach().clone()
    step(model, optimizer)
    assert torch.equal(model.backbone.weight, before)
    model.backbone.requires_grad_(True)
    optimizer.add_param_group({"params": model.backbone.parameters(), "lr": 0.01})
    step(model, optimizer)
    assert not torch.equal(model.backbone.weight, before)


def test_patterns_that_name_nothing_and_decay_of_frozen_weights_are_refused() -> None:
    model = Net()
    with pytest.raises(
        UserError, match=r"'layer9\.\*' names no parameter of the model; it has backbone\.weight"
    ):
        named(model, ["layer9.*"], 0.0)
    model.backbone.requires_grad_(False)
    with pytest.raises(
        UserError, match=r"weight decay 0\.1 .* would shrink backbone\.bias while it is frozen"
    ):
        named(model, ["backbone.*"], 0.1)


def test_a_group_of_foreign_or_frozen_tensors_is_refused_by_name() -> None:
    model, optimizer, _ = frozen()
    with pytest.raises(UserError, match=r"parameter backbone\.weight was frozen.*unfreezes"):
        optimizer.add_param_group({"params": model.backbone.parameters()})
    with pytest.raises(UserError, match=r"params\[0\], of shape \[2\], is no parameter of the model"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    optimizer.add_param_group({"params": model.head.parameters()})
    assert [len(group["params"]) for group in optimizer.param_groups] == [0, 2]


def replaced(model: Net) -> None:
    model.head = nn.Linear(3, 1)


def assigned(model: Net) -> None:
    model.load_state_dict(Net().state_dict(), assign=True)


def pruned(model: Net) -> None:
    prune.l1_unstructured(model.head, "weight", 0.5)


def grown(model: Net) -> None:
    model.new = nn.Linear(1, 1)


def moved(model: Net) -> None:
    model.double()


@pytest.mark.parametrize("change", [replaced, assigned, pruned, grown, moved])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_model_that_is_built_on_after_connect_is_refused(change: Callable[[Net], None], steps: int) -> None:
    model = Net()
    optimizer = Job().connect(model)
    for _ in range(steps):
        step(model, optimizer)
    change(model)
    with pytest.raises(UserError, match=r"parameter \S+ .*before asgd\.connect\(model\)"):
        optimizer.zero_grad()
        optimizer.step()


# -- schedulers and scalers ------------------------------------------------------------------------

SCHEDULERS = torch.optim.lr_scheduler
MAKE: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda o: SCHEDULERS.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda o: SCHEDULERS.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda o: SCHEDULERS.StepLR(o, 2),
    "MultiStepLR": lambda o: SCHEDULERS.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: SCHEDULERS.ConstantLR(o),
    "LinearLR": lambda o: SCHEDULERS.LinearLR(o),
    "ExponentialLR": lambda o: SCHEDULERS.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: SCHEDULERS.PolynomialLR(o),
    "CosineAnnealingLR": lambda o: SCHEDULERS.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: SCHEDULERS.CosineAnnealingWarmRestarts(o, 2),
    "ChainedScheduler": lambda o: SCHEDULERS.ChainedScheduler([SCHEDULERS.StepLR(o, 2)]),
    "SequentialLR": lambda o: SCHEDULERS.SequentialLR(
        o, [SCHEDULERS.ConstantLR(o), SCHEDULERS.ExponentialLR(o, 0.9)], [2]
    ),
    "ReduceLROnPlateau": lambda o: SCHEDULERS.ReduceLROnPlateau(o, patience=0),
    "CyclicLR": lambda o: SCHEDULERS.CyclicLR(o, 0.01, 0.2, step_size_up=2),
    "OneCycleLR": lambda o: SCHEDULERS.OneCycleLR(o, 0.5, total_steps=10),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05),
}
ABSTRACT = {"LRScheduler"}


def test_all_schedulers_of_torch_are_tried() -> None:
    assert set(SCHEDULERS.__all__) - ABSTRACT <= set(MAKE)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("name", MAKE)
def test_a_scheduler_runs_and_the_jobs_rate_stays_with_one_warning(name: str, rule: str) -> None:
    model = Net()
    optimizer = Job(optimizer={"name": rule, "learningRate": 0.1}).connect(model)
    with pytest.warns(UserWarning) as warned:
        scheduler = MAKE[name](optimizer)
        for _ in range(6):
            step(model, optimizer)
            assert optimizer.param_groups[0]["lr"] == 0.1
            scheduler.step(1.0) if name == "ReduceLROnPlateau" else scheduler.step()
        step(model, optimizer)
    ours = [str(each.message) for each in warned if "spec.optimizer.learningRate" in str(each.message)]
    assert len(ours) == 1


def test_a_grad_scaler_leaves_steps_with_inf_out_and_makes_the_others() -> None:
    model, job = Net(), Job()
    optimizer = job.connect(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for number in range(3):
        optimizer.zero_grad()
        scaler.scale(model(X).mean() * (float("inf") if number == 1 else 1.0)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    assert len(job.pushes) == 2


def test_the_optimizers_state_can_be_saved_and_loaded() -> None:
    model = Net()
    optimizer = Job().connect(model)
    step(model, optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    step(model, optimizer)
