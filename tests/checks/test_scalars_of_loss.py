"""A loss function that returns a dict: the loss is trained to the same bits, the rest is averaged as the loss is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asgd.algorithms.registry import names
from asgd.drivers.virtual.simulation import Simulation
from asgd.errors import UserError
from asgd.report import history, series
from asgd.report.history import HistoryWriter
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker import scalars
from asgd.worker.compute import prepare
from asgd.worker.meters import Meters
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.shared import TorchWork
from tests.checks.virtual import CONSTANT, job

SOURCE = """
import torch
from torch import nn
from asgd import Task

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 24
    def __getitem__(self, index):
        return torch.full((3,), float(index) / 24), torch.tensor(float(index % 5))

def task(dicts=True, accumulate=1):
    def loss(model, batch):
        rows, aims = batch
        value = ((model(rows)[:, 0] - aims) ** 2).mean()
        return {"loss": value, "aim": aims.mean(), "two": 2.0} if dicts else value
    torch.manual_seed(0)
    return Task(model=nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), loss=loss, data=Rows(),
                accumulate=accumulate)
"""


def run(**spec: Any) -> tuple[Simulation, Any]:
    given = {
        "entrypoint": "rows:task", "source": {"rows.py": SOURCE}, "batchSize": 8, "stopAfter": {"epochs": 2},
        "optimizer": {"learningRate": 0.05}, "workers": {"replicas": 2}, "evaluation": {"everySeconds": 0},
    }  # fmt: skip
    the_job = job(**given | spec | {"args": spec.get("args", {})})
    done = Simulation(the_job, TorchWork(the_job.spec), CONSTANT)
    return done, done.run()


def test_the_loss_is_trained_to_the_same_bits_and_the_rest_is_told() -> None:
    plain, without = run(args={"dicts": False})
    told, status = run()
    assert (plain.answer() == told.answer()).all()
    assert without.scalars == {} and status.loss == without.loss
    assert set(status.scalars) == {"aim", "two"} and status.scalars["two"] == pytest.approx(2.0)
    assert 1.0 < status.scalars["aim"] < 3.0


@pytest.mark.parametrize("accumulate", [1, 3])
def test_micro_batches_count_by_their_share_of_the_batch(accumulate: int) -> None:
    task = two(accumulate)
    computation = prepare(task, JobSpec("rows:task", batch_size=5), 0)
    rows = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])
    loss = computation.gradient(LeasedBatch(rows[:, None], 5, ()))
    assert loss == pytest.approx(4.0), "the mean over five rows"
    assert computation.scalars.take() == {"mean": pytest.approx(4.0), "one": pytest.approx(1.0)}


def two(accumulate: int) -> Task:
    """Its loss is the mean of the rows at weight 1, which `mean` tells too."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)

    def loss(model: nn.Module, batch: Tensor) -> Any:
        value = model(batch).mean()
        return {"loss": value, "mean": value, "one": 1}

    return Task(model=model, loss=scalars.plain(loss), data=[torch.zeros(1)], accumulate=accumulate)


def test_stages_tell_the_same_as_the_whole_model() -> None:
    found = []
    for stages in (1, 2):
        model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.5)
        task = replace(two(2), model=model)
        spec = job(workers={"replicas": 1, "stages": stages}, batchSize=4).spec
        computation = prepare(task, spec, 0)
        computation.gradient(LeasedBatch(torch.tensor([[1.0], [2.0], [3.0], [6.0]]), 4, ()))
        found.append(computation.scalars.take())
        computation.close()
    assert found[0].keys() == {"mean", "one"}
    assert found[1] == pytest.approx(found[0])


def test_a_batch_that_is_dropped_takes_its_own_with_it_and_what_is_not_finite_is_left_out() -> None:
    meters = Meters()
    for value in (1.0, 100.0, 3.0):
        meters.beside.begin()
        meters.beside.add({"kl": value, "bad": float("nan")})
        if value == 100.0:
            meters.dropped()
    assert meters.scalars() == {"kl": 2.0}
    assert meters.scalars() == {}, "each batch is told once"


def test_a_dict_that_cannot_be_used_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        UserError, match=r"^Task.loss returned a dict without 'loss', which is trained; it has 'kl'$"
    ):
        scalars.plain(lambda model, batch: {"kl": 1.0})(None, None)
    with pytest.raises(UserError, match=r"with 'kl': Tensor; allowed: a number or a scalar Tensor$"):
        scalars.plain(lambda model, batch: {"loss": torch.ones(()), "kl": torch.ones(2)})(None, None)


def test_the_history_holds_them_and_the_picture_draws_them(tmp_path: Path) -> None:
    _, status = run()
    with HistoryWriter(tmp_path / "history.jsonl") as written:
        written.record(status)
    found = series.scalars(history.read(tmp_path / "history.jsonl"), series.by_time)
    assert set(found) == {"aim", "two"} and found["two"].y[0] == pytest.approx(2.0)
    from asgd.report import curves

    assert curves.render(history.read(tmp_path / "history.jsonl"), "a run")


@pytest.mark.parametrize("algorithm", [name for name in names() if name != "zeno"])
def test_every_strategy_tells_them(algorithm: str) -> None:
    fields: dict[str, Any] = {"algorithm": {"name": algorithm}}
    if algorithm == "krum":
        fields["workers"] = {"replicas": 5}
    if algorithm == "eamsgd":
        fields["optimizer"] = {"learningRate": 0.01, "momentum": 0.5}
    _, status = run(**fields)
    assert status.scalars.get("two") == pytest.approx(2.0)
