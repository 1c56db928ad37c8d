"""The same scripts in four workers: what they reach is within noise of one worker's, over five seeds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import asgd
from asgd.drivers.virtual.simulation import Simulation
from asgd.worker.shared import TorchWork
from asgd.world.models import ComputeTime, World
from tests.checks.virtual import job
from tests.users.jobs import run_spec, write
from tests.users.loops import PARTS

pytestmark = pytest.mark.timeout(300)
SEEDS = range(5)
WORLD = World(compute=ComputeTime("uniform", 1.0, 1.5))


def task(name: str) -> asgd.Task:
    """The entrypoint of the jobs below: a part, measured by its mean loss over all data."""
    part = PARTS[name]()

    def loss(model: nn.Module, batch: Any) -> Tensor:
        # NB: a part's loss knows its own model; the job's is this very one.
        assert model is part.model
        return part.loss(batch)

    def evaluate(model: nn.Module) -> dict[str, float]:
        batches = DataLoader(part.data, 8, collate_fn=part.how.get("collate_fn"))
        with torch.no_grad():
            return {"final": statistics.fmean(part.loss(batch).item() for batch in batches)}

    return asgd.Task(
        model=part.model,
        loss=loss,
        evaluate=evaluate,
        data=part.data,
        collate=part.how.get("collate_fn"),
        data_workers=0,
    )


def reached(name: str, workers: int, seed: int) -> float:
    """The final loss of a job in virtual time."""
    the_job = job(
        entrypoint="tests.users.test_four_workers:task", args={"name": name}, seed=seed, batchSize=8,
        optimizer={"learningRate": 0.05}, stopAfter={"updates": 240}, workers={"replicas": workers},
        evaluation={"everySeconds": 1000},
    )  # fmt: skip
    return Simulation(the_job, TorchWork(the_job.spec), WORLD).run().metrics["final"]


def within_noise(few: list[float], many: list[float], least: float) -> None:
    """The means are three standard deviations of a run apart at most; `least`: and no less than this is noise."""
    noise = max(statistics.stdev(few), statistics.stdev(many), least)
    assert abs(statistics.fmean(few) - statistics.fmean(many)) <= 3 * noise, (few, many)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PARTS if name not in ("compiled", "penalties_and_hooks")])
def test_four_workers_reach_what_one_does(name: str) -> None:
    one, four = ([reached(name, workers, seed) for seed in SEEDS] for workers in (1, 4))
    within_noise(one, four, 0.01)
    assert statistics.fmean(four) < 1.06, "it has learnt something; three classes by chance give 1.1"


@pytest.mark.slow
def test_four_workers_reach_what_one_does_with_the_usual_model() -> None:
    one, four = ([reached("four_lines", workers, seed) for seed in SEEDS[:2]] for workers in (1, 4))
    within_noise(one, four, 0.01)


# -- a whole script by real processes --------------------------------------------------------------

SCRIPT = """
    import argparse, copy, csv, logging

    import torch
    import torch.nn.functional as F
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from torch.utils.data import DataLoader, Dataset

    import asgd


    class Digits(Dataset):
        def __init__(self, train):
            digits = load_digits()
            kept = slice(1437) if train else slice(1437, None)
            self.images = torch.tensor(digits.data[kept] / 16, dtype=torch.float32)
            self.labels = torch.tensor(digits.target[kept])

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return {"image": self.images[index], "label": self.labels[index], "name": f"digit-{index}"}


    class Net(nn.Module):
        def __init__(self, layers, dropout):
            super().__init__()
            sizes = [64, *layers]
            self.body = nn.Sequential(*[
                nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(dropout))
                for a, b in zip(sizes, sizes[1:])
            ])
            self.head = nn.Linear(sizes[-1], 10)

        def forward(self, x):
            return self.head(self.body(x))


    @torch.no_grad()
    def accuracy(model, loader):
        model.eval()
        right = [(model(batch["image"]).argmax(1) == batch["label"]).float().mean().item() for batch in loader]
        model.train()
        return sum(right) / len(right)


    def parse():
        parser = argparse.ArgumentParser()
        parser.add_argument("--layers", type=int, nargs="+", default=[32])
        parser.add_argument("--dropout", type=float, default=0.1)
        parser.add_argument("--context", default="fork")
        parser.add_argument("--bf16", action="store_true")
        return parser.parse_args()


    def main():
        args = parse()
        torch.manual_seed(0)
        model = Net(args.layers, args.dropout)
        how = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": args.context}
        loader = DataLoader(Digits(True), 16, shuffle=True, drop_last=True, **how)
        test = DataLoader(Digits(False), 60)
        optimizer = asgd.connect(model)
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        with open(f"log-{optimizer.index}.csv", "w", newline="") as file:
            table = csv.writer(file)
            for epoch in optimizer.until_stopped(range(1000)):
                for batch in optimizer.until_stopped(loader):
                    optimizer.zero_grad()
                    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
                        loss = F.cross_entropy(model(batch["image"]), batch["label"], label_smoothing=0.05)
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                    optimizer.step(loss=loss, samples=len(batch["name"]))
                    averaged.update_parameters(model)
                table.writerow([epoch, loss.item(), accuracy(model, test)])
        print("accuracy", accuracy(model, test), accuracy(averaged, test))


    if __name__ == "__main__":
        main()
"""
SPEC: dict[str, Any] = {
    "entrypoint": "script.py",
    "batchSize": 16,
    "optimizer": {"learningRate": 0.1},
    "args": {"layers": [48, 32], "bf16": True},
}


def accuracies(folder: Path, workers: int, seed: int, updates: int, **args: Any) -> list[float]:
    """Of each worker's model, by the script's own last line."""
    folder.mkdir()
    write(folder, script=SCRIPT)
    spec = SPEC | {
        "args": SPEC["args"] | args, "seed": seed, "workers": {"replicas": workers}, "stopAfter": {"updates": updates}
    }  # fmt: skip
    ran = run_spec(folder, spec)
    assert ran.summary["stopReason"] == "updates"
    # NB: who is lost for being silent on a busy machine joins again; no process may have ended.
    assert "starts again" not in ran.said and "is killed" not in ran.said, ran.said
    return [
        float(ran.log(f"worker-{index}").rpartition("accuracy ")[2].split()[0]) for index in range(workers)
    ]


@pytest.mark.slow
def test_a_script_with_main_guard_loader_processes_and_lists_in_its_arguments_trains_in_two_workers(
    tmp_path: Path,
) -> None:
    assert min(accuracies(tmp_path / "run", 2, 0, 300)) > 0.8


@pytest.mark.slow
def test_a_script_whose_loader_processes_are_spawned_trains(tmp_path: Path) -> None:
    assert min(accuracies(tmp_path / "run", 2, 0, 300, context="spawn")) > 0.8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_script_in_four_workers_reaches_what_it_does_in_one(tmp_path: Path) -> None:
    one, four = (
        [statistics.fmean(accuracies(tmp_path / f"{workers}-{seed}", workers, seed, 900)) for seed in SEEDS]
        for workers in (1, 4)
    )
    within_noise(one, four, 0.01)
