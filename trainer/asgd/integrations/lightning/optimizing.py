"""`configure_optimizers` as `Task.optimizer` and `Task.schedulers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from asgd.errors import UserError

RHYTHM = ("interval", "frequency")
BESIDE = ("name", "strict", "monitor", "reduce_on_plateau")
"""Keys of Lightning's that say nothing of when a scheduler steps."""
Plateau = torch.optim.lr_scheduler.ReduceLROnPlateau


def parts(given: Any, kind: str) -> tuple[torch.optim.Optimizer, list[dict[str, Any]]]:
    """Optimizer and schedulers of what `configure_optimizers` of the class `kind` has returned. Raises UserError."""
    optimizers, schedulers = _split(given)
    place = f"{kind}.configure_optimizers"
    if len(optimizers) > 1:
        raise UserError(
            f"{place} returns {len(optimizers)} optimizers, and a task has one; allowed: one optimizer with a group for"
            " each part, or a loop of your own (asgd.connect)"
        )
    if not optimizers or not isinstance(optimizers[0], torch.optim.Optimizer):
        what = type(optimizers[0]).__name__ if optimizers else "no optimizer"
        raise UserError(
            f"{place} returns {what}; allowed: a torch.optim.Optimizer, alone or with schedulers as Lightning has it"
        )
    return optimizers[0], [_rhythm(each, place) for each in schedulers]


def _split(given: Any) -> tuple[list[Any], list[Any]]:
    if given is None:
        return [], []
    if isinstance(given, Mapping):
        return [given.get("optimizer")], [given["lr_scheduler"]] if given.get("lr_scheduler") else []
    if not isinstance(given, Sequence):
        return [given], []
    if len(given) == 2 and isinstance(given[0], list | tuple):
        second = given[1]
        return list(given[0]), list(second) if isinstance(second, list | tuple) else [second]
    several = [_split(each) if isinstance(each, Mapping) else ([each], []) for each in given]
    return [o for own, _ in several for o in own], [s for _, own in several for s in own]


def _rhythm(given: Any, place: str) -> dict[str, Any]:
    """As `Task.schedulers` takes it: Lightning steps each epoch where nothing is said."""
    told = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    if isinstance(told.get("scheduler"), Plateau) or told.get("reduce_on_plateau"):
        raise UserError(
            f"{place}: ReduceLROnPlateau follows a metric, and metrics are measured beside the training; allowed: a"
            " scheduler that goes by steps or epochs"
        )
    if strange := sorted(told.keys() - {"scheduler", *RHYTHM, *BESIDE}):
        raise UserError(
            f"{place}: a scheduler has {strange[0]!r}; allowed: {', '.join(('scheduler', *RHYTHM, *BESIDE))}"
        )
    return {"interval": "epoch"} | {name: told[name] for name in ("scheduler", *RHYTHM) if name in told}
