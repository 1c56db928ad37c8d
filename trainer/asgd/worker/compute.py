"""Who computes a worker's gradients: the model whole on one device, or in stages over several (`parallel`)."""

from __future__ import annotations

from typing import Protocol

from asgd.errors import UserError
from asgd.host.say import say
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.accelerator import choose_devices
from asgd.worker.device.backward import Early, backward, nobody
from asgd.worker.device.flat import Flat
from asgd.worker.parallel.pipeline import Pipeline
from asgd.worker.parallel.plan import asked, cut, place, stages_of
from asgd.worker.pieces import pieces_of
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.reading.micro import MicroBatches
from asgd.worker.scalars import Scalars


class Computation(Protocol):
    """A model in its place; `flat` holds its weights and, after `gradient`, the batch's gradient."""

    flat: Flat
    scalars: Scalars
    """What the loss function returns beside the loss."""

    @property
    def where(self) -> str:
        """Its devices, for people."""

    def gradient(self, item: LeasedBatch, early: Early = nobody) -> float:
        """Leaves the gradient of the batch's mean loss in `flat`; returns the loss. May tell `early` before."""

    def close(self) -> None:
        """Ends what runs beside the training thread."""


class Whole:
    """The model on one device."""

    def __init__(self, task: Task, flat: Flat, pieces: MicroBatches) -> None:
        self._task, self.flat, self._pieces = task, flat, pieces
        self.scalars = Scalars()

    @property
    def where(self) -> str:
        return str(self.flat.device)

    def gradient(self, item: LeasedBatch, early: Early = nobody) -> float:
        return backward(self._task, self.flat, self.flat.device, item, early, self._pieces, self.scalars)

    def close(self) -> None:
        return


def prepare(task: Task, spec: JobSpec, index: int) -> Computation:
    """Puts the task's model where worker `index` computes it. Raises UserError when it cannot be cut as asked."""
    devices = choose_devices(spec.workers.devices.count, index)
    if stages_of(spec) == 1:
        return Whole(task, Flat(task.model, devices[0]), pieces_of(task, spec))
    flat, stages = place(task, cut(task, spec), devices)
    if task.accumulate < len(stages):
        say(
            f"Task.accumulate: {task.accumulate} leaves {len(stages)} stages idle most of the time; take"
            f" {2 * len(stages)} or more"
        )
    return Pipeline(task, flat, stages, pieces=pieces_of(task, spec))


def refuse_stages_of_script(spec: JobSpec) -> None:
    """A script has a loop of its own. Raises UserError when it is to be cut."""
    if stages_of(spec) > 1:
        raise UserError(f"{asked(spec)}, but a script computes its gradients itself; allowed: 1")
