"""Which loggers a job asks for, and whether their libraries are there: looked up, never imported, for they are slow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from asgd.errors import UserError
from asgd.spec.types import Logger

KINDS = ("tensorboard", "mlflow", "wandb")
"""Each is a field of `Logger`, and the name of the library to import."""


def kind_of(logger: Logger) -> str:
    """Which of `KINDS` it is."""
    return next(kind for kind in KINDS if getattr(logger, kind) is not None)


def missing(loggers: Sequence[Logger], find: Callable[[str], object] = find_spec) -> dict[int, str]:
    """{number of a logger: sentence} of those whose library is not installed here."""
    found: dict[int, str] = {}
    for number, logger in enumerate(loggers):
        kind = kind_of(logger)
        if find(kind) is None:
            found[number] = (
                f"spec.logging[{number}].{kind}: the library {kind} is not installed here; `pip install"
                " asgd-operator[loggers]` brings it, or leave this logger out"
            )
    return found


def check_installed(loggers: Sequence[Logger], find: Callable[[str], object] = find_spec) -> None:
    """Raises UserError when a library is not installed."""
    if lacking := missing(loggers, find):
        raise UserError(next(iter(lacking.values())))
