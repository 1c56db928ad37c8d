"""Tasks for runs on real processes: small enough to start fast, shaped so that weights tell what happened.

`counting` is the important one. Its gradient is -1 at each sample of the batch, so with `learningRate: 1` every
weight is the number of accepted pushes that named its sample: the model file itself proves which samples were
visited, and how often. It has the counters twice; with two shards each shard keeps one copy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from asgd import Task
from asgd.examples import digits as example


class Indices(Dataset[int]):
    """Sample i is the number i."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise IndexError(index)
        return index


class Counters(nn.Module):
    """How often each of `size` samples was visited, as `first` on shard 0 and `second` on shard 1 of two."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(size))
        self.second = nn.Parameter(torch.zeros(size))

    def forward(self, indices: Tensor) -> Tensor:
        return self.first[indices].sum() + self.second[indices].sum()


def sleep_for_ever_once(done: Path) -> None:
    """The first process that comes here never comes back; those after it see the file `done`."""
    if not done.exists():
        done.touch()
        time.sleep(1e6)


def counting(
    size: int = 512,
    pace: str = "",
    evaluates: bool = False,
    crash: bool = False,
    hang: int = 0,
    stuck: int = 0,
    stillborn: int = 0,
    talk: bool = False,
) -> Task:
    """Counts visits; each step sleeps the seconds that stand in the file `pace`. `crash` fails every evaluation.
    With `talk` each step prints something.

    Worker 1's first process never comes back from its `hang`-th batch, the first evaluator from its `stuck`-th
    evaluation. Its first `stillborn` processes die before they join.
    """
    batches = evaluations = 0
    if os.environ.get("ASGD_INDEX") == "1" and "ASGD_METRICS" in os.environ:
        died = Path(pace).with_name("died")
        deaths = len(died.read_text(encoding="utf-8")) if died.exists() else 0
        if deaths < stillborn:
            died.write_text("x" * (deaths + 1), encoding="utf-8")
            os._exit(1)

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        nonlocal batches
        if talk:
            print("a line that takes room in the log", flush=True)
        if pace:
            time.sleep(float(Path(pace).read_text(encoding="utf-8")))
            batches += int("ASGD_METRICS" in os.environ)  # the check before the run trains nothing
            if batches == hang and os.environ.get("ASGD_INDEX") == "1":
                sleep_for_ever_once(Path(pace).with_name("hung"))
        counted: Tensor = model(batch)
        return -counted

    def evaluate(model: nn.Module) -> dict[str, float]:
        nonlocal evaluations
        if crash and "ASGD_METRICS" in os.environ:  # the check before the run finds nothing wrong
            raise RuntimeError("this evaluation never works")
        evaluations += int("ASGD_METRICS" in os.environ)
        if evaluations == stuck > 0:
            sleep_for_ever_once(Path(pace).with_name("stuck"))
        return {"visits": float(sum(p.detach().mean() for p in model.parameters()) / 2)}

    return Task(
        model=Counters(size), loss=loss, data=Indices(size), evaluate=evaluate if evaluates or crash else None
    )


def unmeasured() -> Task:
    """Its evaluation raises."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        raise KeyError("label_map")

    return replace(counting(), evaluate=evaluate)


class Ragged(Dataset[Tensor]):
    """Samples of unlike lengths."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Tensor:
        return torch.ones(1 + index % 5)


def ragged() -> Task:
    """Without a collate of its own."""
    return replace(counting(), data=Ragged())


def blobs(size: int = 600) -> Task:
    """Three clouds of points in 16 dimensions, a fifth of them under wrong labels, which no model gets right."""
    source = torch.Generator().manual_seed(1)
    label = torch.arange(size) % 3
    points = torch.randn(3, 16, generator=source)[label] + 0.5 * torch.randn(size, 16, generator=source)
    wrong = torch.rand(size, generator=source) < 0.2
    given = torch.where(wrong, torch.randint(0, 3, (size,), generator=source), label)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"sum": float(model(points).sum())}

    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    return Task(model=model, loss=loss, data=torch.utils.data.TensorDataset(points, given), evaluate=evaluate)


def explodes(steps: int = 300) -> Task:
    """`blobs` with batch norm and no evaluation, whose loss is a million times as large after so many `steps`."""
    task, made = blobs(), 0

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        nonlocal made
        made += 1
        time.sleep(0.002)
        found: Tensor = task.loss(model, batch) * (1.0 if made <= steps else 1e6)
        return found

    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    return replace(task, model=model, loss=loss, evaluate=None)


class Noisy(Dataset[tuple[Tensor, int]]):
    """Points of three clouds, each time moved by the worker's own random numbers."""

    def __init__(self, size: int) -> None:
        source = torch.Generator().manual_seed(1)
        self.labels = torch.arange(size) % 3
        self.points = torch.randn(3, 16, generator=source)[self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.points[index] + 0.5 * torch.randn(16), int(self.labels[index])


def noisy(size: int = 600, pace: str = "", width: int = 32, chance: bool = False) -> Task:
    """All that makes a worker's gradients its own: random samples, dropout, running statistics.

    `chance` adds what no seed governs.
    """
    model = nn.Sequential(
        nn.Linear(16, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 3)
    )

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        if pace:
            time.sleep(float(Path(pace).read_text(encoding="utf-8")))
        points = batch[0] + (time.monotonic_ns() % 1000) / 1e4 if chance else batch[0]
        return nn.functional.cross_entropy(model(points), batch[1])

    return Task(model=model, loss=loss, data=Noisy(size))


def rooted(size: int = 600, width: int = 65_000) -> Task:
    """In one batch of four the small first layer's gradient is nan, and neither the loss nor any other gradient is."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, width), nn.Linear(width, 3))

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        hidden = model[0](batch[0])  # type: ignore[index]
        if int(batch[1].sum()) % 4 == 0:
            hidden = hidden + (0 * hidden).sqrt()
        return nn.functional.cross_entropy(model[2](model[1](hidden)), batch[1])  # type: ignore[index]

    return Task(model=model, loss=loss, data=Noisy(size))


def digits(model: str = "cnn", pace: str = "", slow: int = -1, hang: int = 0) -> Task:
    """The example's digits; each training step sleeps the seconds that stand in the file `pace`, judgements do not.

    Steps of the worker `slow` sleep four times as long. Worker 1's first process never comes back from its `hang`-th.
    """
    task, batches = example.task(model), 0
    worker = int(os.environ.get("ASGD_INDEX", "-1")) if "ASGD_METRICS" in os.environ else -1

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        nonlocal batches
        if pace and torch.is_grad_enabled():
            time.sleep(float(Path(pace).read_text(encoding="utf-8")) * (4 if worker == slow else 1))
            batches += worker == 1
            if batches == hang > 0:
                sleep_for_ever_once(Path(pace).with_name("hung"))
        return task.loss(model, batch)

    return replace(task, loss=loss)


def line(size: int = 256) -> Task:
    """A straight line whose x are so large that squares explode step by step at ordinary rates."""
    x = torch.linspace(-10, 10, size).unsqueeze(1)
    data = torch.utils.data.TensorDataset(x, 3 * x)
    return Task(model=nn.Linear(1, 1), loss=lambda m, b: nn.functional.mse_loss(m(b[0]), b[1]), data=data)


class Endless(IterableDataset[int]):
    """Numbers without an end."""

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            yield number % 8
            number += 1


def stream() -> Task:
    """Data of unknown size."""
    return Task(model=Counters(8), loss=lambda m, b: -m(b), data=Endless())


def nothing() -> str:
    """No task at all."""
    return "a task"


def empty() -> Task:
    """A dataset of no samples."""
    return counting(size=0)


def unreadable() -> Task:
    """A dataset whose file is not there."""

    class Missing(Indices):
        def __getitem__(self, index: int) -> int:
            return len(Path("/nowhere/digits.bin").read_bytes())

    return Task(model=Counters(4), loss=lambda m, b: -m(b), data=Missing(4))


NUMBER = 7
"""Not a callable."""
