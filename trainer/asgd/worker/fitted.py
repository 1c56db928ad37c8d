"""A strategy's worker half, made ready for a model: the same in a process, in virtual time and in a replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from asgd.algorithms.base import WorkerStrategy
from asgd.algorithms.registry import halves
from asgd.spec.types import JobSpec
from asgd.worker.wishes import Following


def fitted(
    spec: JobSpec, tensors: Sequence[tuple[str, Sequence[int]]],
    equip: Callable[[WorkerStrategy], Following | None], judge: Callable[[], Callable[[Any], float]],
) -> tuple[WorkerStrategy, Following | None]:  # fmt: skip
    """The half that steps a model of `tensors`, (name, shape) in flat order, and who moves its optimizer's figures.

    `equip` gives it an optimizer of the task's own, if there is one; `judge()` is asked for the loss of weights where
    the strategy compares some. Raises UserError when a parameter group fits no parameter, and what those two raise.
    """
    rule = halves(spec).worker()
    rule.lay_out((name, math.prod(shape)) for name, shape in tensors)
    following = equip(rule)
    if rule.probes:
        rule.judge = judge()
    rule.describe(tensors)
    return rule, following
