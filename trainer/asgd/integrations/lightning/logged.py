"""What a module says by `self.log` and `self.log_dict`, in the place of Lightning's own collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from asgd.errors import UserError

REDUCTIONS = "mean", "sum", "min", "max"
OURS = "loss"
"""The name of the training loss in a job."""


@dataclass(slots=True)
class _Figure:
    value: Any
    weight: float
    how: str


class Logged:
    """What is logged in one batch of training, or in one evaluation. `size`: samples of the batch under way."""

    def __init__(self, *, training: bool, size: Callable[[], int]) -> None:
        self._training, self._size = training, size
        self._figures: dict[str, _Figure] = {}
        self.suffix = ""
        """Of names in the loader under way, where there are several."""
        self.batch_wise = True
        """A batch is under way: what is logged is weighted by its size."""

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool | None = None, on_step: bool | None = None,
        on_epoch: bool | None = None, reduce_fx: Any = "mean", enable_graph: bool = False, sync_dist: bool = False,
        sync_dist_group: Any = None, add_dataloader_idx: bool = True, batch_size: int | None = None,
        metric_attribute: str | None = None, rank_zero_only: bool = False,
    ) -> None:  # fmt: skip
        """As `LightningModule.log`: `prog_bar`, `logger` and what is about processes say nothing here."""
        if not self._training and on_epoch is False:
            return  # Lightning shows such a value at its step alone
        how = getattr(reduce_fx, "__name__", reduce_fx)
        if how not in REDUCTIONS:
            raise UserError(f"self.log({name!r}, reduce_fx={reduce_fx!r}); allowed: {', '.join(REDUCTIONS)}")
        if name == OURS:
            if self._training:
                return  # it is shown as the loss already
            raise UserError(
                "self.log('loss') in an evaluation is the training loss's name; allowed: as 'val_loss'"
            )
        weight = float(batch_size or (self._size() if self.batch_wise else 1))
        self._add(name + (self.suffix if add_dataloader_idx else ""), value, weight, how)

    def log_dict(self, dictionary: Mapping[str, Any], *rest: Any, **options: Any) -> None:
        """As `LightningModule.log_dict`."""
        for name, value in dictionary.items():
            self.log(name, value, *rest, **options)

    def _add(self, name: str, value: Any, weight: float, how: str) -> None:
        if hasattr(value, "compute") and hasattr(value, "reset"):
            self._figures[name] = _Figure(value, 1.0, "metric")
            return
        figure = value.detach().float().reshape(()) if isinstance(value, Tensor) else float(value)
        known = self._figures.get(name)
        if known is None or self._training:
            weighed = figure * weight if how == "mean" and not self._training else figure
            self._figures[name] = _Figure(weighed, weight, how)
        elif how in ("min", "max"):
            pair = torch.as_tensor(known.value), torch.as_tensor(figure)
            known.value = torch.minimum(*pair) if how == "min" else torch.maximum(*pair)
        else:
            known.value = known.value + (figure * weight if how == "mean" else figure)
            known.weight += weight

    def scalars(self) -> dict[str, Any]:
        """Of the batch, for `Task.loss`: numbers and scalar tensors; of a metric, its value of the batch."""
        found = {}
        for name, figure in self._figures.items():
            value = figure.value
            if figure.how == "metric":
                value = getattr(value, "_forward_cache", None)
                value = figure.value.compute() if value is None else value
            found[name] = value
        return found

    def metrics(self) -> dict[str, float]:
        """Of the evaluation: means over its samples; metrics are computed, and begin anew."""
        found, objects = {}, {}
        for name, figure in self._figures.items():
            if figure.how == "metric":
                objects[id(figure.value)] = figure.value
                found[name] = float(figure.value.compute())
            else:
                found[name] = float(figure.value / figure.weight if figure.how == "mean" else figure.value)
        for each in objects.values():
            each.reset()
        return found


@contextmanager
def logging(module: nn.Module, logged: Logged) -> Iterator[None]:
    """`self.log` of `module`, and of modules of Lightning's in it, goes to `logged` in the block."""
    own = [each for each in module.modules() if hasattr(each, "log_dict") and hasattr(each, "training_step")]
    for each in own:
        each.__dict__["log"], each.__dict__["log_dict"] = logged.log, logged.log_dict
    try:
        yield
    finally:
        for each in own:
            del each.__dict__["log"], each.__dict__["log_dict"]
