"""Tries what will run, before anything starts: one batch through the user's loss and backward, a short one if an epoch
ends with one, then `evaluate`.

Runs in the check's own process, on the device of a worker and of the evaluator, so that no random number, weight or
sample of the training changes. What takes too long is let go: the processes that train will say what is wrong with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any, NoReturn

from torch import Tensor, nn

from asgd.algorithms.registry import halves
from asgd.errors import AsgdError, UserError
from asgd.server.evaluations import wanted_metrics
from asgd.spec.types import AVERAGE_PREFIX, JobSpec
from asgd.task import Task
from asgd.wire.rule import with_rule
from asgd.worker.compute import Computation, prepare
from asgd.worker.device.accelerator import choose_device
from asgd.worker.device.flat import Flat
from asgd.worker.device.modes import start_training
from asgd.worker.optimizing.of_task import equip, rule_of
from asgd.worker.parallel.plan import check, stages_of
from asgd.worker.reading.data import dataset_size, open_batches
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.task.last_batch import last_batch
from asgd.worker.task.measuring import measured
from asgd.worker.users_code import sentence

BATCH_SECONDS, EVALUATE_SECONDS = 20.0, 5.0
"""A batch (which may compile) and an evaluation get so long here."""


def refuse_empty(model: nn.Module, entrypoint: str) -> None:
    """A model on the meta device has shapes and no values. Raises UserError."""
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise UserError(
                f"spec.entrypoint: {entrypoint}: Task.model: {name} is on the meta device, without values; allowed:"
                " a model with values, as model.to_empty(device='cpu') and an initialisation give it"
            )


def try_out(task: Task, spec: JobSpec, let_go: Callable[[str], NoReturn]) -> None:
    """Raises UserError with what is wrong; calls `let_go` with what takes too long, which ends this process."""
    with _bounded(BATCH_SECONDS, lambda: let_go("a first batch")):
        item = _first_batch(task, spec)
        if item is not None:
            _compute(task, spec, item)
    if task.evaluate is not None:
        with _bounded(EVALUATE_SECONDS, lambda: let_go("an evaluation")):
            _evaluate(task, spec)


@contextmanager
def _bounded(seconds: float, over: Callable[[], NoReturn]) -> Iterator[None]:
    timer = threading.Timer(seconds, over)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _first_batch(task: Task, spec: JobSpec) -> LeasedBatch | None:
    size = dataset_size(task, spec.entrypoint)
    leases = iter([(0, 0, min(size or 1, spec.batch_size))])
    # NB: processes that load data cost more to start than a batch to load; a stream may ask which of them it is in.
    alone = task if size is None else replace(task, data_workers=0)
    try:
        item = next(open_batches(alone, spec, 0, lambda: next(leases, None)))
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        hint = "" if task.collate or size is None else "; Task.collate says how samples become a batch"
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint}: making a batch of {spec.batch_size} samples failed:"
            f" {sentence(error)}{hint}"
        ) from error
    return item if isinstance(item, LeasedBatch) else None


def _compute(task: Task, spec: JobSpec, item: LeasedBatch) -> None:
    if stages_of(spec) > 1:
        check(task, spec, item.batch)
        return
    start_training(task.model)
    tried = replace(task, loss=_checked(task.loss, spec.entrypoint))
    with _telling(spec, "loss and backward of one batch failed"):
        computation = prepare(tried, spec, 0)
        computation.gradient(item)
        _try_step(computation, task, spec)
        _try_last(computation, task, spec)
        computation.close()


def _try_step(computation: Computation, task: Task, spec: JobSpec) -> None:
    """A step by the task's own optimizer, if it has one; the weights are as before then."""
    flat, brought = computation.flat, rule_of(task, spec)
    spec = with_rule(spec, brought)
    rule = halves(spec).worker()
    following = equip(rule, task, spec, flat, brought=brought)
    if following is not None:
        following(0, 0, 0)
    if rule.optimizer is None or task.optimizer is None:
        return
    before = flat.weights.clone()
    with _telling(spec, "a step of Task.optimizer failed"):
        rule.optimizer.step(flat.weights, flat.gather(), 1.0, flat.grads)
    flat.load(before)


def _try_last(computation: Computation, task: Task, spec: JobSpec) -> None:
    """The batch that an epoch ends with, where it is a short one: a full one has gone well."""
    last = last_batch(task, spec)
    if last is None:
        return
    try:
        computation.gradient(last.item())
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever users' code raises is theirs to mend.
        raise UserError(last.refusal(f"loss and backward failed: {sentence(error)}")) from error


def _checked(loss: Callable[[nn.Module, Any], Tensor], entrypoint: str) -> Callable[[nn.Module, Any], Tensor]:
    """`loss`, whose result is looked at before it goes backward."""

    def looked_at(model: nn.Module, batch: Any) -> Tensor:
        result = loss(model, batch)
        wanted = "allowed: a scalar Tensor, the mean over the batch"
        place = f"spec.entrypoint: {entrypoint}: Task.loss returned"
        if not isinstance(result, Tensor):
            raise UserError(f"{place} {type(result).__name__}; {wanted}")
        if result.numel() != 1:
            raise UserError(f"{place} a Tensor of shape {tuple(result.shape)}; {wanted}")
        if not result.requires_grad:
            raise UserError(f"{place} a Tensor that no trained parameter of the model is part of; {wanted}")
        return result

    return looked_at


def _evaluate(task: Task, spec: JobSpec) -> None:
    """On the device that the evaluator has; the model may stand on another one."""
    with _telling(spec, "evaluate failed"):
        if stages_of(spec) == 1:
            Flat(task.model, choose_device(spec.evaluation.devices.count, 0))
        try:
            metrics = measured(task)
        except UserError as error:
            raise UserError(f"spec.entrypoint: {spec.entrypoint}: {error}") from error
    if spec.evaluation.ema is not None:
        metrics |= {AVERAGE_PREFIX + name: value for name, value in metrics.items()}
    for field, name in wanted_metrics(spec).items():
        if name not in metrics:
            raise UserError(
                f"spec.{field}: {name} is nothing that `evaluate` of {spec.entrypoint} gives; allowed:"
                f" {', '.join(sorted(metrics)) or 'nothing'}"
            )


@contextmanager
def _telling(spec: JobSpec, what: str) -> Iterator[None]:
    """Whatever users' code raises in the block is theirs to mend; the sentence says where."""
    try:
        yield
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"spec.entrypoint: {spec.entrypoint}: {what}: {sentence(error)}") from error
