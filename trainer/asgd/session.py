"""`asgd.connect()`: the same worker for people who keep their own training loop.

It gives back something to use as the optimizer: `zero_grad()`, `step()`, also under `torch.amp.GradScaler` and with
gradient accumulation. The script runs under `asgd run` with `entrypoint: train.py`, once in each worker.

    import asgd
    optimizer = asgd.connect(model)             # was: torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in optimizer.until_stopped(loader):   # was: for epoch in range(...): for batch in loader:
        loss = ...
        optimizer.zero_grad(); loss.backward(); optimizer.step()

The loop's data is the script's own: each worker reads a stream of its own, so `stopAfter.epochs` can't be counted.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from asgd.env import read_config
from asgd.exporter import Exporter, Views
from asgd.worker.devices import limit_threads
from asgd.worker.process import catch_term, exit_code
from asgd.worker.replica import Replica

Batch = TypeVar("Batch")
GUARANTEE = "no promise for each sample: every worker runs its own loop (asgd.connect)"


class Connection(torch.optim.Optimizer):
    """A model joined to the running job; `step` pushes the gradient and pulls the weights as the job says."""

    def __init__(self, replica: Replica, model: nn.Module, batch_size: int) -> None:
        rate = replica.spec.optimizer.learning_rate
        super().__init__([p for p in model.parameters() if p.requires_grad], {"lr": rate})
        self._replica = replica
        self._batch_size = batch_size
        self._leaving = catch_term()
        self._exporter = Exporter(replica.config.metrics, Views(collect=replica.meters.collect))
        self._closed = False
        self._loss: float | None = None
        replica.config.announce_address("worker", self._exporter.address)
        replica.join()
        atexit.register(self.close)

    @property
    def stopped(self) -> bool:
        """The job is over, or this worker was told to leave."""
        return bool(self._replica.stop) or bool(self._leaving)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """All gradients are 0; they stay views of the flat vector whatever `set_to_none` says."""
        self._replica.flat.zero()

    def step(
        self, closure: Callable[[], float] | None = None, *, loss: Any = None, samples: int | None = None
    ) -> Any:
        """Hands the gradient to the servers. `loss` is shown and recorded; `samples` default to spec.batchSize."""
        value: Any = None
        if closure is not None:
            with torch.enable_grad():
                value = loss = closure()
        figure = float(loss) if loss is not None else None
        self._replica.step(samples or self._batch_size, figure)
        return value

    def until_stopped(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches over and over until the job stops."""
        while not self.stopped:
            count = 0
            for batch in batches:
                count += 1
                if self.stopped:
                    return
                yield batch
            if count == 0:
                return

    def close(self) -> None:
        """Finishes the push in flight and says goodbye; called by itself when the script ends."""
        if not self._closed:
            self._closed = True
            self._replica.flush()
            self._replica.close("drained" if self._leaving else self._replica.stop)
            self._exporter.close()

    @property
    def exit_code(self) -> int:
        """What the worker process ends with."""
        return exit_code(self._replica.stop, bool(self._leaving))


def connect(model: nn.Module) -> Connection:
    """Joins `model` to the job that this process is a worker of.

    Its parameters become views of one flat vector and take the servers' weights. Raises UserError outside
    `asgd run` and
    pods, or when the model does not fit the job; TryAgain when no server answers.
    """
    config = read_config()
    limit_threads()
    replica = Replica(config, model, None, GUARANTEE)
    return Connection(replica, model, config.job.spec.batch_size)
