"""A module's steps as the functions of a task: `training_step` as its loss, `validation_step` as its evaluation."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import asgd
from asgd.errors import UserError
from asgd.integrations.lightning.hooks import overridden
from asgd.integrations.lightning.logged import Logged, logging
from asgd.integrations.lightning.optimizing import parts
from asgd.integrations.lightning.standin import StandIn


class Learning:
    """`module` with what stands around it: `trainer` in the place of Lightning's, and its callbacks.

    `validation`: the loaders of `validation_step`. All it has goes with the task, so a task may be pickled and copied.
    """

    def __init__(self, module: Any, base: type, trainer: StandIn, validation: Sequence[Any]) -> None:
        self.module, self.base, self.trainer, self.validation = module, base, trainer, validation
        self._batch = 0
        self._newest: tuple[Any, Any, int] | None = None
        self._beside: dict[str, Any] = {}
        """Logged between two batches; shown with the next one."""
        self._schedulers: list[dict[str, Any]] = []

    # -- what a task has ---------------------------------------------------------------------------

    def loss(self, model: Any, batch: Any) -> dict[str, Any]:
        """`Task.loss`: the loss of `training_step`, and what it logs."""
        self.attach(model)
        batch = self.moved(model, batch, 0)
        number, self._batch = self._batch, self._batch + 1
        logged = Logged(training=True, size=lambda: self.size(batch))
        with logging(model, logged):
            for skip in self.call("on_train_batch_start", batch, number):
                if skip == -1:
                    raise UserError(
                        f"{type(model).__name__}.on_train_batch_start returned -1, which leaves out the rest of an"
                        " epoch; a job's epoch is all workers'"
                    )
            outputs = model.training_step(*_given(model.training_step, batch, number))
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            if not isinstance(loss, Tensor):
                raise UserError(
                    f"{type(model).__name__}.training_step returned {type(outputs).__name__}"
                    f"{' without a loss' if isinstance(outputs, Mapping) else ''}; allowed: the loss as a Tensor, or a"
                    ' dict with "loss"'
                )
            self.call("on_before_backward", loss)
        self._newest = _without_graph(outputs), batch, number
        beside, self._beside = self._beside, {}
        return {**beside, **logged.scalars(), "loss": loss}

    def evaluate(self, model: Any) -> dict[str, float]:
        """`Task.evaluate`: what `validation_step` and its hooks log, averaged as Lightning does."""
        self.attach(model)
        self.trainer.training, self.trainer.validating = False, True
        under_way: list[Any] = []
        logged = Logged(training=False, size=lambda: self.size(under_way[-1]) if under_way else 1)
        with logging(model, logged):
            logged.batch_wise = False
            self.call("on_validation_start")
            self.call("on_validation_epoch_start")
            for number, loader in enumerate(self.validation):
                logged.suffix = f"/dataloader_idx_{number}" if len(self.validation) > 1 else ""
                for place, read in enumerate(loader):
                    batch = self.moved(model, read, number)
                    under_way[:], logged.batch_wise = [batch], True
                    self._validate(model, batch, place, number)
            logged.suffix, logged.batch_wise = "", False
            self.call("on_validation_epoch_end")
            found = logged.metrics()
            self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in found.items()})
            self.call("on_validation_end")
        self.trainer.training, self.trainer.validating = True, False
        return found

    def _validate(self, model: Any, batch: Any, place: int, loader: int) -> None:
        several = (loader,) if len(self.validation) > 1 else ()
        self.call("on_validation_batch_start", batch, place, *several)
        outputs = model.validation_step(*_given(model.validation_step, batch, place, *several))
        self.call("on_validation_batch_end", outputs, batch, place, *several)

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """`Task.optimizer`. NB: the schedulers come with it, and are asked for next."""
        self.attach(self.module)
        made, self._schedulers = parts(self.module.configure_optimizers(), type(self.module).__name__)
        return made

    def schedulers(self, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """`Task.schedulers`, of the optimizer that was made last."""
        return self._schedulers

    # -- around them -------------------------------------------------------------------------------

    def attach(self, model: Any) -> None:
        """The module finds the stand-in. NB: Lightning drops it from copies and pickles."""
        if model._trainer is not self.trainer:
            model.trainer = self.trainer

    def moved(self, model: Any, batch: Any, loader: int) -> Any:
        """The batch on the module's device, by the hooks of the module or of its data module."""
        data = self.trainer.datamodule

        def who(name: str) -> Any:
            return data if data is not None and _own(data, name) else model

        batch = who("on_before_batch_transfer").on_before_batch_transfer(batch, loader)
        batch = who("transfer_batch_to_device").transfer_batch_to_device(batch, model.device, loader)
        return who("on_after_batch_transfer").on_after_batch_transfer(batch, loader)

    def size(self, batch: Any) -> int:
        """Samples of a batch, as Lightning counts them for its means."""
        utilities = importlib.import_module(self.base.__module__.split(".core.")[0] + ".utilities.data")
        return int(utilities.extract_batch_size(batch))

    def call(self, hook: str, *arguments: Any) -> list[Any]:
        """Calls `hook` of the callbacks and of the module; what they return."""
        module = self.module
        found = []
        for callback in self.trainer.callbacks:
            told: Callable[..., Any] | None = getattr(callback, hook, None)
            if told is not None:
                found.append(told(self.trainer, module, *arguments))
        if overridden(module, hook, self.base):
            found.append(getattr(module, hook)(*arguments))
        return found

    def between(self, hook: str, *arguments: Any) -> None:
        """Calls `hook` where no batch is under way; what is logged there is shown with the next batch."""
        self.attach(self.module)
        logged = Logged(training=True, size=lambda: 1)
        with logging(self.module, logged):
            self.call(hook, *arguments)
        self._beside |= logged.scalars()


class Telling(asgd.Callback):
    """Calls the hooks of `learning` that come between two batches of a worker."""

    def __init__(self, learning: Learning) -> None:
        self._learning = learning
        self._open = False
        """An epoch has begun."""

    def on_start(self, start: Any) -> None:
        self._learning.trainer.training = True
        for hook in ("on_fit_start", "on_train_start"):
            self._learning.between(hook)
        self._begin(start)

    def _begin(self, moment: Any) -> None:
        learning = self._learning
        learning.trainer.current_epoch = int(moment.epochs or 0)
        learning._batch, self._open = 0, True
        learning.between("on_train_epoch_start")

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._learning.between("on_train_epoch_end")
            _reset(self._learning.module)

    def on_step(self, step: Any) -> None:
        learning = self._learning
        learning.trainer.global_step = step.updates
        if learning._newest is not None:
            learning.between("on_train_batch_end", *learning._newest)
            learning._newest = None
        if int(step.epochs or 0) > learning.trainer.current_epoch:
            self._end()
            self._begin(step)

    def on_end(self, end: Any) -> None:
        if end.worker is None:
            return
        self._end()
        for hook in ("on_train_end", "on_fit_end"):
            self._learning.between(hook)


def _reset(module: nn.Module) -> None:
    """Metrics (torchmetrics) begin anew with each epoch."""
    for each in module.modules():
        reset: Any = getattr(each, "reset", None)
        if reset is not None and hasattr(each, "_forward_cache"):
            reset()


def _own(data: Any, name: str) -> bool:
    """Whether a data module has a hook of its own."""
    kind = next(each for each in type(data).__mro__ if name in vars(each))
    return kind.__module__.split(".")[0] not in ("pytorch_lightning", "lightning")


def _given(step: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """As many of batch, number and loader as the step takes."""
    parameters = inspect.signature(step).parameters.values()
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return arguments
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return arguments[: len(places)]


def _without_graph(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        return {name: _without_graph(value) for name, value in outputs.items()}
    return outputs.detach() if isinstance(outputs, Tensor) else outputs
