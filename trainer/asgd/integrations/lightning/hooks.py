"""Which of Lightning's hooks a job calls, which it does not, and which modules and callbacks are refused for theirs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from asgd.errors import UserError

TRAINING = (
    "on_fit_start", "on_fit_end", "on_train_start", "on_train_end", "on_train_epoch_start", "on_train_epoch_end",
    "on_train_batch_start", "on_train_batch_end", "on_before_backward",
)  # fmt: skip
"""Called in each worker."""
VALIDATION = (
    "on_validation_start", "on_validation_end", "on_validation_epoch_start", "on_validation_epoch_end",
    "on_validation_batch_start", "on_validation_batch_end",
)  # fmt: skip
"""Called in the evaluator."""
BATCHES = ("on_before_batch_transfer", "on_after_batch_transfer")
"""Called in both, of modules and data modules."""
SAID = {
    "on_save_checkpoint": "the job's checkpoints hold weights, buffers and the servers' optimizer",
    "on_load_checkpoint": "the job's checkpoints hold weights, buffers and the servers' optimizer",
    "on_exception": "a worker that fails is started again",
    "teardown": "a worker's process ends with it",
}
"""Not called, which changes no training: a warning says so."""
WAYS = {
    "on_after_backward": "gradients leave for the servers while they are computed",
    "on_before_optimizer_step": "the servers make the steps; optimizer.clipNorm in the job clips",
    "on_before_zero_grad": "the servers make the steps",
    "optimizer_step": "the servers make the steps",
    "optimizer_zero_grad": "a batch's gradient begins at 0 by itself",
    "backward": "the job goes backward from the loss that training_step returns",
    "configure_gradient_clipping": "optimizer.clipNorm in the job clips the whole gradient",
    "lr_scheduler_step": "schedulers are stepped by the job's samples",
}
"""Why a hook can't be called that would change the training."""
_OTHER_STAGES = ("on_test_", "on_predict_", "on_sanity_")


def overridden(thing: Any, name: str, base: type) -> bool:
    """Whether `thing` has a `name` of its own, that is not Lightning's."""
    own, plain = getattr(type(thing), name, None), getattr(base, name, None)
    return own is not None and own is not plain and callable(own)


def base_of(thing: Any, name: str) -> type | None:
    """Lightning's own class `name` that `thing` is of; None where it is not."""
    for kind in type(thing).__mro__:
        if kind.__name__ == name and kind.__module__.split(".")[0] in ("pytorch_lightning", "lightning"):
            return kind
    return None


def check_module(module: Any, base: type) -> None:
    """Raises UserError where the module does what a job can't; warns of what is not called and changes no training."""
    kind = type(module).__name__
    if not module.automatic_optimization:
        raise UserError(
            f"{kind}.automatic_optimization is False: the module makes its steps itself; allowed: automatic"
            " optimization, or a loop of your own (asgd.connect)"
        )
    for needed in ("training_step", "configure_optimizers"):
        if not overridden(module, needed, base):
            raise UserError(f"{kind} has no {needed}, which a job trains by")
    called = {*TRAINING, *VALIDATION, *BATCHES}
    hooks = [name for name in dir(base) if name.startswith("on_") or name in WAYS]
    _check(module, kind, base, hooks, called)


def check_callback(callback: Any, base: type) -> None:
    """The same of one of Lightning's callbacks."""
    kind = type(callback).__name__
    for names in (each.__name__ for each in type(callback).__mro__):
        if names in OURS:
            raise UserError(f"callbacks: {kind} is the job's own affair; say {OURS[names]} in its place")
    hooks = [name for name in dir(base) if name.startswith("on_") or name == "teardown"]
    _check(callback, f"callbacks: {kind}", base, hooks, {*TRAINING, *VALIDATION})


def _check(thing: Any, place: str, base: type, hooks: Iterable[str], called: set[str]) -> None:
    for name in hooks:
        if name in called or name.startswith(_OTHER_STAGES) or not overridden(thing, name, base):
            continue
        if name in SAID:
            warnings.warn(f"{place}.{name} is not called: {SAID[name]}", stacklevel=4)
            continue
        why = WAYS.get(name, "no place in a job's training answers to it")
        raise UserError(
            f"{place}.{name} can't be called, for {why}; allowed: {', '.join((*TRAINING, *VALIDATION))}"
        )


OURS = {
    "ModelCheckpoint": "checkpoint: {best: {metric: val_loss, mode: min}}",
    "EarlyStopping": "stopAfter: {patience: {metric: val_loss, mode: min, evaluations: 3}}",
    "ProgressBar": "nothing: asgd run shows the run",
    "ModelSummary": "nothing: asgd run says the number of parameters",
    "LearningRateMonitor": "logging: [{tensorboard: {}}]",
    "DeviceStatsMonitor": "asgd run --profile",
    "ThroughputMonitor": "nothing: asgd run shows samples/s",
    "Timer": "stopAfter: {seconds: 3600}",
    "GradientAccumulationScheduler": "task(..., accumulate=4)",
    "StochasticWeightAveraging": "evaluation: {ema: 0.999}",
    "WeightAveraging": "evaluation: {ema: 0.999}",
    "OnExceptionCheckpoint": "checkpoint: {everySeconds: 60}",
}
"""Lightning's callbacks that a job has something of its own for."""
