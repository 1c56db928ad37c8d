"""A job whose scripts train several models, each by steps of its own (`asgd.connect({"generator": g, "critic": c})`).

No field of a job file says so: the first worker brings it (`wire/rule.py`). In the flat vector one model lies behind
the other; what an exchange is about is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from msgspec import Struct

from asgd.spec.types import JobSpec, Optimizer


class Model(Struct, frozen=True):
    """One of them: the `size` elements that follow the model before."""

    name: str
    size: int
    optimizer: Optimizer


class JobOfModels(JobSpec, frozen=True):
    """The job with its models; `optimizer` is the file's."""

    models: tuple[Model, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    @property
    def edges(self) -> tuple[int, ...]:
        """Where the models begin, and the last one ends."""
        return (0, *accumulate(model.size for model in self.models))

    def of(self, model: int) -> JobSpec:
        """The job as it were with model number `model` alone."""
        return JobSpec(**_fields(self) | {"optimizer": self.models[model].optimizer})


def with_models(spec: JobSpec, models: Sequence[Model]) -> JobOfModels:
    """`spec` with these models."""
    return JobOfModels(**_fields(spec), models=tuple(models))


def _fields(spec: JobSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in JobSpec.__struct_fields__}


def within(edges: Sequence[int], model: int, start: int, stop: int) -> tuple[int, int]:
    """First element and end of what lies of a model in elements [start, stop), counted from `start`."""
    first, last = edges[model : model + 2]
    return min(max(first, start), stop) - start, min(max(last, start), stop) - start


def named_together(names: Sequence[str]) -> str:
    """`generator and critic`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
