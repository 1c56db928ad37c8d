"""What of a Trainer's settings a job honours; the rest is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asgd.errors import UserError
from asgd.integrations.lightning.hooks import base_of

DEFAULTS = "ModelSummary", "ProgressBar"
"""Callbacks that a Trainer has by itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a Trainer, or of none."""

    max_epochs: int | None = None
    max_steps: int = -1
    accumulate: int = 1
    callbacks: list[Any] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields of the job that say the same."""


def settings_of(trainer: Any, max_epochs: int | None) -> Settings:
    """Raises UserError for what would be lost."""
    if trainer is None:
        return Settings(max_epochs, fields={} if max_epochs is None else {"stopAfter.epochs": max_epochs})
    if base_of(trainer, "Trainer") is None:
        raise UserError(
            f"lightning.task: trainer is {type(trainer).__name__}; allowed: a Trainer of Lightning's"
        )
    _refuse(trainer)
    fields: dict[str, Any] = {}
    limit, how = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
    if limit:
        if how is not None and str(getattr(how, "value", how)) != "norm":
            raise UserError(
                "Trainer(gradient_clip_algorithm='value') clips each element; allowed: 'norm', as optimizer.clipNorm"
            )
        fields["optimizer.clipNorm"] = float(limit)
    epochs = max_epochs if max_epochs is not None else trainer.max_epochs
    epochs = None if epochs is None or epochs < 0 else epochs
    if epochs is not None:
        fields["stopAfter.epochs"] = epochs
    if trainer.max_steps > 0:
        fields["stopAfter.updates"] = trainer.max_steps
    return Settings(
        epochs, trainer.max_steps, trainer.accumulate_grad_batches, _own(trainer.callbacks), fields
    )


def _own(callbacks: list[Any]) -> list[Any]:
    """Without those that every Trainer has."""

    def is_default(callback: Any) -> bool:
        kinds = {kind.__name__ for kind in type(callback).__mro__}
        unasked = "ModelCheckpoint" in kinds and callback.monitor is None
        return unasked or bool(kinds & set(DEFAULTS))

    return [callback for callback in callbacks if not is_default(callback)]


def _refuse(trainer: Any) -> None:
    wrong = {
        "precision": (trainer.precision, "32-true", "torch.autocast in training_step, or module.to(torch.bfloat16)"),
        "limit_train_batches": (trainer.limit_train_batches, 1.0, "a smaller dataset"),
        "limit_val_batches": (trainer.limit_val_batches, 1.0, "a smaller dataset"),
        "overfit_batches": (trainer.overfit_batches, 0.0, "a smaller dataset"),
        "fast_dev_run": (trainer.fast_dev_run, False, "stopAfter: {updates: 1}"),
        "detect_anomaly": (trainer._detect_anomaly, False, "torch.autograd.set_detect_anomaly in the entrypoint"),
        "reload_dataloaders_every_n_epochs": (
            trainer.reload_dataloaders_every_n_epochs, 0, "data that are built once",
        ),
        "strategy": (type(trainer.strategy).__name__, "SingleDeviceStrategy", "workers: {replicas: 4} in the job"),
    }  # fmt: skip
    for name, (value, wanted, way) in wrong.items():
        if value != wanted:
            raise UserError(
                f"Trainer({name}={value!r}) is not honoured by a job; allowed: {wanted!r}; say {way}"
            )
