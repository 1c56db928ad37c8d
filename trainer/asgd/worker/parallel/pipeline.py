"""A batch through the stages: one thread a stage, micro-batches in flight, gradients as one device would give them.

Each thread goes through its own fixed list of actions (`schedule`) and waits for values at its boxes, so which thread
runs when changes no result. On GPUs a thread only launches work; the device's own stream orders it. One more thread a
micro-batch under way runs the user's loss (`conversation`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from asgd.task import Task
from asgd.worker import scalars
from asgd.worker.device.accelerator import to_device
from asgd.worker.device.draws import Draws, dealt
from asgd.worker.device.flat import Flat
from asgd.worker.parallel.conversation import Conversation
from asgd.worker.parallel.mail import Abandoned, Box, Office
from asgd.worker.parallel.schedule import Action, one_forward_one_backward
from asgd.worker.parallel.stage import Passed, Stage
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.reading.micro import MicroBatches
from asgd.worker.scalars import Scalars

Watch = Callable[[int, Action, bool], None]
"""Told (stage, action, whether it is over) in that stage's thread."""


class Pipeline:
    """`task` over `stages`, whose parameters are those of `flat`. `close` ends its threads."""

    def __init__(
        self, task: Task, flat: Flat, stages: Sequence[Stage], watch: Watch | None = None,
        pieces: MicroBatches | None = None,
    ) -> None:  # fmt: skip
        self.flat = flat
        self._pieces = pieces or MicroBatches(task.accumulate)
        self._task, self._stages, self._watch = task, stages, watch
        threads = torch.get_num_threads()
        self._threads = [
            ThreadPoolExecutor(1, f"stage-{stage.number}", _ready, (threads, stage.device))
            for stage in stages
        ]
        self.scalars = Scalars()
        self._losses = ThreadPoolExecutor(len(stages), "loss", _ready, (threads, stages[-1].device))

    @property
    def where(self) -> str:
        """Its devices, for people."""
        return f"{len(self._stages)} stages ({', '.join(str(stage.device) for stage in self._stages)})"

    def gradient(self, item: LeasedBatch, early: object = None) -> float:
        """Leaves the gradient of the batch's mean loss in `flat`; returns the loss. Raises what users' code raises.

        Nothing is told `early`: a parameter has its gradient when the last micro-batch has been through its stage.
        """
        self.flat.zero()
        self.flat.scatter()
        batch: Any = to_device(item.batch, self._stages[-1].device)
        parts = self._pieces.of(batch, item.samples)
        with dealt(len(parts), self._stages[0].device) as draws:
            losses = _Batch(self._task, self._stages, parts, draws, self._watch).run(
                self._threads, self._losses
            )
        total = 0.0
        self.scalars.begin()
        for loss, (_, share) in zip(losses, parts, strict=True):
            total += float(loss) * share
            self.scalars.add(scalars.of(loss), share)
        return total

    def close(self) -> None:
        """Ends the threads."""
        for pool in (*self._threads, self._losses):
            pool.shutdown()


def _ready(threads: int, device: torch.device) -> None:
    # NB: the number of threads of an operator decides the order of sums, hence bits.
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)


class _Batch:
    """One batch under way."""

    def __init__(
        self, task: Task, stages: Sequence[Stage], parts: Sequence[tuple[Any, float]], draws: Sequence[Draws],
        watch: Watch | None,
    ) -> None:  # fmt: skip
        self._task, self._stages, self._draws, self._watch = task, stages, draws, watch
        self._office = Office()
        self._ahead = [Box(self._office) for _ in stages]
        self._back = [Box(self._office) for _ in stages]
        self._conversations = [
            Conversation(self._office, part, share, own)
            for (part, share), own in zip(parts, draws, strict=True)
        ]
        self._losses: list[Future[Tensor]] = []

    def run(self, threads: Sequence[ThreadPoolExecutor], losses: ThreadPoolExecutor) -> list[Tensor]:
        """Returns the micro-batches' losses in order."""
        self._pool = losses
        played = [
            thread.submit(self._guarded, partial(self._play, stage))
            for thread, stage in zip(threads, self._stages, strict=True)
        ]
        errors = [future.exception() for future in played]
        raise_first([*errors, *(future.exception() for future in self._losses)])
        return [future.result() for future in self._losses]

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except BaseException:
            self._office.give_up()
            raise

    def _play(self, stage: Stage) -> None:
        for action in one_forward_one_backward(stage.number, len(self._stages), len(self._draws)):
            if self._watch:
                self._watch(stage.number, action, False)
            (self._forward if action.way == "forward" else self._backward)(stage, action.part)
            if self._watch:
                self._watch(stage.number, action, True)

    def _forward(self, stage: Stage, part: int) -> None:
        conversation = self._conversations[part]
        if stage.number == 0:
            device = self._stages[-1].device
            talk = partial(self._guarded, partial(conversation.hold, self._task.loss, device))
            self._losses.append(self._pool.submit(talk))
            passed = Passed(conversation.asked.take())
        else:
            passed = self._ahead[stage.number].take()
        passed = stage.forward(part, passed, self._draws[part])
        if stage is self._stages[-1]:
            conversation.answered.put(passed.values)
        else:
            self._ahead[stage.number + 1].put(passed)

    def _backward(self, stage: Stage, part: int) -> None:
        last = stage is self._stages[-1]
        gradients = (self._conversations[part].gradients if last else self._back[stage.number]).take()
        gradients = stage.backward(part, gradients)
        if stage.number:
            self._back[stage.number - 1].put(gradients)


def raise_first(errors: Sequence[BaseException | None]) -> None:
    """Raises the error that made all others give up, if there is one."""
    found = [error for error in errors if error is not None]
    for error in found:
        if not isinstance(error, Abandoned):
            raise error
    assert not found, "a batch was given up for no reason"
