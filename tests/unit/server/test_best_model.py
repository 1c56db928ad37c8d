"""The best evaluated model in the store: what is kept, what proves it, and what a store that refuses costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from asgd.drivers.best_model import NAME, export_best
from asgd.drivers.model_file import check_model
from asgd.drivers.output import Output
from asgd.errors import Damaged, Fenced
from asgd.server.improving import improves
from asgd.server.saves import best
from asgd.server.saves.best import BestRecord
from asgd.server.saves.store import Store
from asgd.worker.best_keeper import BestKeeper
from asgd.worker.device.extras import WholeModel, whole_model
from tests.checks.virtual import job

RULE = {"metric": "accuracy", "mode": "max"}


@pytest.mark.parametrize(
    ("mode", "value", "before", "better"),
    [
        ("max", 0.5, None, True), ("max", 0.5, 0.5, False), ("max", 0.6, 0.5, True), ("min", 0.4, 0.5, True),
        ("min", 0.6, 0.5, False), ("max", math.nan, None, False), ("max", math.inf, 0.5, False),
        ("min", -math.inf, None, False),
    ],
)  # fmt: skip
def test_only_a_finite_value_that_is_better_counts(
    mode: str, value: float, before: Any, better: bool
) -> None:
    assert improves(mode, value, before) == better


class Config:
    """The part of a process's configuration that a keeper looks at."""

    def __init__(self, store: Path, run: str = "run-1", **spec: Any) -> None:
        self.job = job(checkpoint={"best": RULE, **spec.pop("checkpoint", {})}, **spec)
        self.checkpoint, self.run = str(store), run


def model(value: float) -> WholeModel:
    return WholeModel({"weight": np.full(3, value, np.float32)}, [])


def keeper(store: Path, run: str = "run-1", **spec: Any) -> BestKeeper:
    return BestKeeper(Config(store, run, **spec))  # type: ignore[arg-type]  # as far as it is looked at


def kept(store: Path) -> tuple[float, int, list[float]]:
    """(value, updates, weights) of what the store holds."""
    found = best.read(Store(best.place(str(store))))
    assert found is not None
    path = store / "best" / found.file
    assert check_model(path), "its digest is right"
    return found.value, found.updates, load_file(path)["weight"].tolist()


def test_the_best_model_stays_while_worse_ones_come_and_a_better_one_takes_its_place(tmp_path: Path) -> None:
    one = keeper(tmp_path)
    for updates, value in enumerate([0.5, 0.4, 0.7, math.nan, 0.7, 0.6]):
        one.offer({"accuracy": value, "loss": 9.0}, updates, 8 * updates, lambda at=updates: model(at))
    assert kept(tmp_path) == (0.7, 2, [2.0] * 3)
    assert len(list((tmp_path / "best").glob("*.safetensors"))) == 1
    report = one.report
    assert report is not None and (report.value, report.updates, report.samples) == (0.7, 2, 16)


def test_an_evaluator_that_is_started_again_goes_on_from_the_record(tmp_path: Path) -> None:
    keeper(tmp_path).offer({"accuracy": 0.7}, 10, 80, lambda: model(1))
    again = keeper(tmp_path)
    again.offer({"accuracy": 0.6}, 20, 160, lambda: model(2))
    assert again.report is not None and again.report.updates == 10
    assert kept(tmp_path) == (0.7, 10, [1.0] * 3)


@pytest.mark.parametrize(
    ("restore", "stays"),
    [("Latest", True), ("None", False)],
    ids=["a job that resumes", "one that starts anew"],
)
def test_another_run_goes_on_from_the_best_of_before_only_if_it_resumes(
    tmp_path: Path, restore: str, stays: bool
) -> None:
    keeper(tmp_path).offer({"accuracy": 0.7}, 10, 80, lambda: model(1))
    keeper(tmp_path, "run-2", checkpoint={"restore": restore}).offer(
        {"accuracy": 0.6}, 5, 40, lambda: model(2)
    )
    assert kept(tmp_path)[0] == (0.7 if stays else 0.6)


def test_an_evaluator_that_was_replaced_writes_no_more(tmp_path: Path) -> None:
    old = keeper(tmp_path)
    old.offer({"accuracy": 0.5}, 1, 8, lambda: model(1))
    keeper(tmp_path).offer({"accuracy": 0.6}, 2, 16, lambda: model(2))
    with pytest.raises(Fenced, match="evaluator of term 1 was replaced by term 2"):
        old.offer({"accuracy": 0.9}, 3, 24, lambda: model(3))
    assert kept(tmp_path)[0] == 0.6


def test_a_store_that_refuses_costs_no_evaluation_and_the_next_better_one_is_kept(tmp_path: Path) -> None:
    one = keeper(tmp_path / "file")
    (tmp_path / "file").write_text("no folder")
    one.offer({"accuracy": 0.5}, 1, 8, lambda: model(1))
    assert "cannot be written" in one.trouble and one.report is None
    (tmp_path / "file").unlink()
    one.offer({"accuracy": 0.4}, 2, 16, lambda: model(2))
    assert one.trouble == "" and kept(tmp_path / "file")[0] == 0.4


def test_a_record_that_was_changed_is_found_out_and_a_new_one_begins(tmp_path: Path) -> None:
    keeper(tmp_path).offer({"accuracy": 0.7}, 10, 80, lambda: model(1))
    path = tmp_path / "best" / "best.json"
    path.write_text(path.read_text().replace("0.7", "0.9"))
    with pytest.raises(Damaged, match="its checksum does not match"):
        best.read(Store(best.place(str(tmp_path))))
    keeper(tmp_path).offer({"accuracy": 0.6}, 20, 160, lambda: model(2))
    assert kept(tmp_path) == (0.6, 20, [2.0] * 3)


def test_the_kept_model_is_whole_it_loads_strictly_with_buffers_and_tied_parameters(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    net[2].weight = net[0].weight
    answer = {name: p.detach().numpy() + 1 for name, p in net.named_parameters()}
    record = BestRecord("digits", "run", "accuracy", "max", 0.5, 3, 24)
    store = Store(best.place(str(tmp_path / "store")))
    record = best.write(store, store.claim_term(best.SEAT), record, *whole_model(net, answer)[:1], "")
    (tmp_path / "out").mkdir()
    assert export_best(Output(tmp_path / "out", False, True), str(tmp_path / "store")) == ""
    tensors = load_file(tmp_path / "out" / NAME)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()}, strict=True)
    assert all(np.array_equal(tensors[name], value) for name, value in answer.items())


def test_a_best_model_that_is_damaged_in_the_store_is_not_exported(tmp_path: Path) -> None:
    keeper(tmp_path / "store").offer({"accuracy": 0.7}, 10, 80, lambda: model(1))
    (path,) = (tmp_path / "store" / "best").glob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (tmp_path / "out").mkdir()
    assert "its sha256 does not match" in export_best(
        Output(tmp_path / "out", False, True), str(tmp_path / "store")
    )
    assert not list((tmp_path / "out").iterdir())
