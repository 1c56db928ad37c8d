"""`task()`: from a `LightningModule`, its data and a Trainer's settings to an `asgd.Task`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import asgd
from asgd.errors import UserError
from asgd.integrations.lightning.hooks import base_of, check_callback, check_module, overridden
from asgd.integrations.lightning.learning import Learning, Telling
from asgd.integrations.lightning.settings import settings_of
from asgd.integrations.lightning.standin import StandIn
from asgd.integrations.loaders import Dealt, dealt


def task(
    module: Any,
    train_dataloaders: Any = None,
    val_dataloaders: Any = None,
    datamodule: Any = None,
    *,
    callbacks: Sequence[Any] = (),
    max_epochs: int | None = None,
    trainer: Any = None,
    **fields: Any,
) -> asgd.Task:
    """A task of `module`, a `LightningModule`, to be given to `asgd.run` or to be named as a job's entrypoint.

    train_dataloaders, val_dataloaders, datamodule  as `Trainer.fit` takes them; the module's own if not given
    callbacks   Lightning's: their hooks of training run in the workers, those of validation in the evaluator
    max_epochs  of the whole training, for modules that ask for it (`estimated_stepping_batches`)
    trainer     a `Trainer` whose settings are to count: those that a job can honour, and its callbacks
    fields      more of `asgd.Task`: accumulate, data_workers

    Raises UserError for what a job can't honour.
    """
    if hasattr(train_dataloaders, "train_dataloader"):
        train_dataloaders, datamodule = None, train_dataloaders
    base = base_of(module, "LightningModule")
    if base is None:
        raise UserError(
            f"lightning.task: {type(module).__name__} is no LightningModule of pytorch_lightning or lightning"
        )
    check_module(module, base)
    settings = settings_of(trainer, max_epochs)
    accumulate = int(fields.pop("accumulate", settings.accumulate))
    _prepare(module, datamodule)
    if "dataloader_iter" in inspect.signature(module.training_step).parameters:
        raise UserError(
            f"{type(module).__name__}.training_step reads dataloader_iter itself; allowed: a batch"
        )
    loader = _loader("train", train_dataloaders, datamodule, module)
    if loader is None:
        raise UserError(
            "lightning.task: there are no training data; allowed: train_dataloaders=, datamodule="
        )
    train = dealt(loader, "the training DataLoader")
    batches = None if train.size is None or not train.batch else -(-train.size // train.batch)
    found = StandIn(settings.max_epochs, settings.max_steps, batches, accumulate)
    found.datamodule = datamodule
    validation = _validation(module, base, _loader("val", val_dataloaders, datamodule, module))
    learning = Learning(module, base, found, validation)
    learning.attach(module)
    found.callbacks = _callbacks(module, [*callbacks, *settings.callbacks])
    found.val_dataloaders = validation
    return asgd.Task(
        model=module, loss=learning.loss, data=train.data, collate=train.collate,
        evaluate=learning.evaluate if validation else None, accumulate=accumulate,
        data_workers=fields.pop("data_workers", train.data_workers), callbacks=[Telling(learning)],
        optimizer=learning.optimizer, schedulers=learning.schedulers,
        fields={**settings.fields, **_batch_size(train, accumulate)}, **fields,
    )  # fmt: skip


def _batch_size(train: Dealt, accumulate: int) -> dict[str, Any]:
    return {"batchSize": train.batch * accumulate} if train.batch else {}


def _prepare(module: Any, datamodule: Any) -> None:
    """NB: in each process, or where the task is made; Lightning's own order."""
    for each in (datamodule, module):
        if each is not None:
            each.prepare_data()
    for each in (datamodule, module):
        if each is not None:
            each.setup("fit")
    module.configure_model()


def _loader(which: str, given: Any, datamodule: Any, module: Any) -> Any:
    """What was given, else the data module's, else the module's; None for nothing."""
    if given is not None and datamodule is not None:
        raise UserError(
            f"lightning.task: {which}_dataloaders and datamodule are both given; allowed: one of them"
        )
    if given is not None:
        return given
    for each in (datamodule, module):
        hook = getattr(each, f"{which}_dataloader", None)
        if each is not None and hook is not None and _is_own(hook):
            return hook()
    return None


def _is_own(hook: Any) -> bool:
    return str(hook.__module__).split(".")[0] not in ("pytorch_lightning", "lightning")


def _validation(module: Any, base: type, loaders: Any) -> list[Any]:
    if loaders is None or not overridden(module, "validation_step", base):
        return []
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _callbacks(module: Any, given: list[Any]) -> list[Any]:
    """Those that are called, after the module's own. Raises UserError for those that can't be."""
    own = module.configure_callbacks()
    every = [*given, *(own if isinstance(own, list | tuple) else [own])]
    for callback in every:
        base = base_of(callback, "Callback")
        if base is None:
            raise UserError(
                f"callbacks: {type(callback).__name__} is no Callback of Lightning's; asgd.Callback objects go into"
                " the Task's own list: task(...).callbacks.append(...)"
            )
        check_callback(callback, base)
        if overridden(callback, "setup", base):
            warnings.warn(f"callbacks: {type(callback).__name__}.setup is not called", stacklevel=3)
    return every
