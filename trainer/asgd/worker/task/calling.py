"""Calls a task's callbacks: what they are is checked when the task is built, what they do must leave training alone.

A callback runs without gradients. Random numbers and training mode are put back after it, so that a run with callbacks
has the bits of one without. Written weights can't be put back (the run's recording would not know them): they are
refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from asgd.callbacks import METHODS, ON_CHECKPOINT, ON_EVALUATE, Callback, Moment
from asgd.errors import AsgdError, UserError
from asgd.task import Task
from asgd.worker.device.flat import Flat
from asgd.worker.device.randomness import random_state, set_random_state
from asgd.worker.users_code import sentence

SAMPLE = 4096
"""So many weights are compared bit by bit after each call."""
_ALLOWED = f"allowed: a list of objects with some of {', '.join(METHODS)} (asgd.Callback)"


class CallbackFailed(Exception):
    """A callback has raised: class, method and what, in a sentence, with the user's own frames."""


def check_callbacks(callbacks: Any, entrypoint: str) -> None:
    """Raises UserError naming what of `Task.callbacks` can't be called, or never would be."""
    place = f"spec.entrypoint: {entrypoint}: Task.callbacks"
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise UserError(f"{place} is {type(callbacks).__name__}; {_ALLOWED}")
    for number, callback in enumerate(callbacks):
        _check(callback, f"{place}[{number}]")


def _check(callback: Any, place: str) -> None:
    if isinstance(callback, type):
        raise UserError(
            f"{place} is the class {callback.__name__}; allowed: an object of it, {callback.__name__}()"
        )
    known = [name for name in METHODS if callable(getattr(callback, name, None))]
    strange = [name for name in dir(callback) if name.startswith("on_") and name not in METHODS]
    kind = type(callback).__name__
    if not known:
        raise UserError(f"{place} is of type {kind} and has none of the methods; {_ALLOWED}")
    if strange:
        raise UserError(
            f"{place}: {kind} has {strange[0]}, which nobody calls; allowed: {', '.join(METHODS)}"
        )
    for name in known:
        try:
            inspect.signature(getattr(callback, name)).bind(None)
        except TypeError:
            raise UserError(f"{place}: {kind}.{name} has to take one argument, what it is told") from None
        except ValueError:
            continue  # a builtin without a signature: the call itself will tell


def silent(task: Task) -> list[str]:
    """What of the task's callbacks nobody will call because it has no evaluator, a sentence each."""
    if task.evaluate is not None:
        return []
    return [
        f"Task.callbacks: {type(callback).__name__}.{method} is never called, for a Task without `evaluate` has no"
        " evaluator"
        for callback in task.callbacks
        for method in (ON_EVALUATE, ON_CHECKPOINT)
        if _has(callback, method)
    ]


def _has(callback: Any, method: str) -> bool:
    """Whether it does something there: the base class's own methods are empty."""
    found = getattr(type(callback), method, None)
    return found is not getattr(Callback, method) and callable(getattr(callback, method, None))


class Calling:
    """The callbacks of `task`, whose trained weights `flat` holds."""

    def __init__(self, task: Task, flat: Flat) -> None:
        self._flat, self.model = flat, task.model
        self._by_method = {
            method: [callback for callback in task.callbacks if _has(callback, method)] for method in METHODS
        }

    def wanted(self, method: str) -> bool:
        """Whether any callback has it."""
        return bool(self._by_method[method])

    def call(self, method: str, moment: Callable[[], Moment]) -> None:
        """Tells all that have `method`. Raises CallbackFailed, or UserError when one has written weights."""
        if not self._by_method[method]:
            return
        self._flat.scatter()
        told = moment()
        for callback in self._by_method[method]:
            name = f"{type(callback).__name__}.{method}"
            untouched = _Untouched(self._flat)
            with torch.no_grad(), _as_before(self.model):
                try:
                    getattr(callback, method)(told)
                except AsgdError:
                    raise
                except (Exception, SystemExit) as error:
                    # Whatever users' code raises is theirs to mend.
                    text = f"Task.callbacks: {name} raised {sentence(error, placed=False)}"
                    raise CallbackFailed(text).with_traceback(error.__traceback__) from error
            if written := untouched.written():
                raise UserError(
                    f"Task.callbacks: {name} has written into parameter {written}, which nobody would train or"
                    " record; allowed: to read the model, or to write into a copy (copy.deepcopy(model))"
                )


class _Untouched:
    """Whether weights are what they were: by autograd's version counters, and a sample of what `.data` may write."""

    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        self._marks = self._look()
        self._places = torch.arange(0, flat.size, -(-flat.size // SAMPLE), device=flat.device)
        self._bits = self._sample()

    def _look(self) -> list[tuple[int, int]]:
        return [(parameter._version, parameter.data_ptr()) for parameter in self._flat.parameters]

    def _sample(self) -> torch.Tensor:
        # NB: bit by bit, for nan is not equal to itself.
        return self._flat.weights[self._places].view(torch.int32)

    def written(self) -> str:
        """The name of a parameter that is another now; '' for none."""
        names = [name for name, _ in self._flat.layout]
        for name, was, mark in zip(names, self._marks, self._look(), strict=True):
            if was != mark:
                return name
        differs = (self._sample() != self._bits).nonzero()
        if not len(differs):
            return ""
        place = int(self._places[int(differs[0])])
        return next(name for name, span in zip(names, self._flat.spans, strict=True) if place < span.stop)


@contextmanager
def _as_before(model: nn.Module) -> Iterator[None]:
    """Random numbers, and each module's training mode, are after the block what they were before."""
    modes = [(module, module.training) for module in model.modules()]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for module, training in modes:
            module.training = training
