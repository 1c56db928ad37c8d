"""Whether a job has an evaluator, as far as its spec alone says. Pure.

Written here once for all who ask: the launcher shares the cores among fewer processes, the operator makes no pod, and
the evaluator itself calls no user's code. Whether a task has `evaluate` only its code says.
"""

from __future__ import annotations

from asgd.spec.types import JobSpec


def is_script(entrypoint: str) -> bool:
    """`train.py` is a script that calls asgd.connect() itself; `train.py:task` and `module:task` give a Task."""
    return entrypoint.endswith(".py")


def may_evaluate(spec: JobSpec) -> bool:
    """Whether an evaluator may find something to measure.

    NB: a script measures by itself and tells it by `optimizer.report`, which `stopAfter.metric` and `patience` go by.
    """
    return not is_script(spec.entrypoint)


def needs_pod(spec: JobSpec) -> bool:
    """Whether an evaluator's pod may find something to do: loggers run in it too, also beside a script."""
    return may_evaluate(spec) or bool(spec.logging)
