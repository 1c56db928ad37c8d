"""The examples as a benchmark trains them: on devices whose time is a sleep, started together, evaluations timed.

A step sleeps `step_seconds`, which stands for a GPU's time so that several workers fit on few cores; worker number
`straggler` sleeps `factor` times as long. Workers wait in their first step until `barrier`/go exists; what the
evaluator finds goes to `barrier`/evaluations.jsonl with the time at which it began.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asgd.examples import charlm, digits, mnist
from asgd.examples.parts import Rows, as_it_is
from asgd.spec.environment import Env
from asgd.task import Task

EXAMPLES: dict[str, Callable[..., Task]] = {
    "digits": digits.task,
    "digits-mlp": partial(digits.task, "mlp"),
    "mnist": mnist.task,
    "charlm": charlm.task,
}


def warm(example: str) -> str:
    """Reads the data of `example`, which a process and its forks do once."""
    if example in EXAMPLES:
        EXAMPLES[example]()
    return example


WIDE = 10_000_000
POLL_SECONDS = 0.005


def task(
    example: str, barrier: str, step_seconds: float = 0.0, straggler: int = -1, factor: float = 5.0
) -> Task:
    """`example` (digits, mnist, charlm, or wide: 10M parameters and no problem at all) with a device's time."""
    base = wide() if example == "wide" else EXAMPLES[example]()
    slow = int(os.environ.get(Env.INDEX, "0")) == straggler
    pause = step_seconds * (factor if slow else 1.0)
    paced = Paced(Path(barrier), base.loss, pause)
    return replace(base, loss=paced, evaluate=_timed(Path(barrier), base.evaluate) if base.evaluate else None)


class Paced:
    """A loss that waits for the barrier once, and takes `pause` seconds more each time."""

    def __init__(self, barrier: Path, loss: Callable[[nn.Module, Any], Tensor], pause: float) -> None:
        self._barrier, self._loss, self._pause = barrier, loss, pause
        self._open = False

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        if not self._open:
            (self._barrier / f"ready-{os.environ.get(Env.INDEX, '0')}").touch()
            while not (self._barrier / "go").exists():
                time.sleep(POLL_SECONDS)
            self._open = True
        if self._pause:
            time.sleep(self._pause)
        return self._loss(model, batch)


def _timed(
    barrier: Path, evaluate: Callable[[nn.Module], Mapping[str, float]]
) -> Callable[[nn.Module], Mapping[str, float]]:
    def measure(model: nn.Module) -> Mapping[str, float]:
        began = time.monotonic()
        metrics = evaluate(model)
        with (barrier / "evaluations.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": began, **metrics}) + "\n")
        return metrics

    return measure


class Wide(nn.Module):
    """One vector of WIDE parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(WIDE))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.mean() * x.mean()


def wide() -> Task:
    """A step whose gradient costs almost nothing but the bytes of a large model."""
    return Task(
        model=Wide(),
        loss=lambda model, batch: model(batch[0]),
        data=Rows(torch.zeros(100_000, 1)),
        collate=as_it_is,
    )
