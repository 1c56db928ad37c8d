"""A run of Weights & Biases by its own library: offline files for `wandb sync`, or sent at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import wandb

from asgd.loggers.points import Point
from asgd.loggers.sink import Place
from asgd.spec.types import WandB

STEP = "updates"
"""Series are over it; the library's own step is the number of the point."""


class WandBSink:
    """A resumed run has the same id; offline it is one folder more, which `wandb sync` adds to the same run."""

    undoes = False

    def __init__(self, how: WandB, place: Place) -> None:
        mode: Any = how.mode or os.environ.get("WANDB_MODE") or "offline"
        online = mode == "online"
        self._run: Any = wandb.init(
            project=how.project or os.environ.get("WANDB_PROJECT") or place.job,
            name=os.environ.get("WANDB_NAME") or place.name,
            id=place.id,
            resume="allow" if online else None,
            mode=mode,
            dir=os.environ.get("WANDB_DIR") or place.folder,
            config=place.config,
            # NB: figures of this machine would be the logger's own, not those of the training.
            settings=wandb.Settings(console="off", disable_git=True, save_code=False, x_disable_stats=True),
        )
        self._run.define_metric("*", step_metric=STEP)
        summary: Any = self._run.summary
        self.highest = int(summary.get(STEP, -1) or -1) if online else -1

    def back(self, updates: int) -> None:
        """What is sent is sent."""

    def write(self, points: Sequence[tuple[float, Point]]) -> None:
        for _, point in points:
            self._run.log({STEP: point.updates, **point.values})

    def close(self, stop_reason: str) -> None:
        self._run.finish(exit_code=1 if stop_reason == "diverged" else 0)
