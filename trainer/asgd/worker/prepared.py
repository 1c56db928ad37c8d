"""A task ready to train: looked at, its model where it computes, and what the servers are told of it.

Users' code is asked in this order in every process that trains, and in a replay: data that draw from a generator of
their own have been read by so much then.
"""

from __future__ import annotations

from typing import NamedTuple

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.assemble import About
from asgd.worker.compute import Computation, prepare
from asgd.worker.reading.data import dataset_size, guarantee
from asgd.worker.task.agreeing import look
from asgd.worker.task.first_loss import first_loss
from asgd.worker.task.probing import Probe, take_probe


class Prepared(NamedTuple):
    """What `prepared` returns."""

    computation: Computation
    about: About
    probe: Probe | None
    """What weights are compared on."""


def prepared(task: Task, spec: JobSpec, index: int, rule: bytes, *, compared: bool = True) -> Prepared:
    """For worker `index`, right after the task was built; `rule`: what the servers are told of its own optimizer.

    `compared`: with what other processes tell of theirs. Raises UserError where the task can't be trained as the job
    says.
    """
    looked = look(task)
    probe = take_probe(task, spec)
    computation = prepare(task, spec, index)
    # NB: on processors it leaves no trace.
    if compared or computation.flat.device.type != "cpu":
        digest = looked.digest(first_loss(task, spec, computation.flat, looked.raw))
    else:
        digest = b""
    about = About(
        dataset=dataset_size(task, spec.entrypoint), guarantee=guarantee(task),
        evaluates=task.evaluate is not None, digest=digest, announced=True, rule=rule,
    )  # fmt: skip
    return Prepared(computation, about, probe)
