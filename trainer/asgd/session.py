"""`asgd.connect()`: the same worker for people who keep their own training loop.

    import asgd                                         # 1
    optimizer = asgd.connect(model)                     # 2  was: torch.optim.SGD(model.parameters(), lr=0.1)
    for images, labels in optimizer.until_stopped(loader):  # 3  was: in loader
        optimizer.zero_grad()
        loss = ...
        loss.backward()
        optimizer.step(loss=loss)                       # 4  was: optimizer.step()

The script runs under `asgd run` with `entrypoint: train.py`, once in each worker. Its data is its own: each
worker reads a stream of its own, so `stopAfter.epochs` can't be counted. The job file sets the learning rate
and the optimizer.
"""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from asgd.algorithms.schedule import learning_rate
from asgd.errors import TryAgain, UserError
from asgd.host.allocator import keep_freed_memory
from asgd.host.env import ProcessConfig, read_config
from asgd.host.exporter import Exporter, Views
from asgd.host.say import say
from asgd.spec.environment import Env
from asgd.wire.ask import Asker
from asgd.wire.messages import Evaluated
from asgd.worker import joined
from asgd.worker.assemble import About, assemble
from asgd.worker.device.accelerator import choose_device, limit_threads
from asgd.worker.device.extras import leave_extras
from asgd.worker.device.flat import Flat
from asgd.worker.process import catch_term, exit_code
from asgd.worker.reading.data import seed_worker, worker_environment
from asgd.worker.replica import Replica
from asgd.worker.task.agreeing import digest_of_model

Item = TypeVar("Item")
GUARANTEE = "no promise for each sample: every worker runs its own loop (asgd.connect)"
REPORT_SECONDS = 30.0


class Stopped(SystemExit):
    """The job is over. Raised by a `step` that comes after its end; uncaught it ends the script well."""


class Connection(torch.optim.Optimizer):
    """A model joined to the running job, to be used as its optimizer: `step` pushes gradients and pulls weights.

    `param_groups` hold the job's learning rate of the moment, to be read; what a scheduler writes there is
    overwritten, with a warning. `state` stays empty: momentum and the like live in the servers.
    """

    def __init__(
        self, config: ProcessConfig, replica: Replica, model: nn.Module, leaving: list[int], exporter: Exporter
    ) -> None:  # fmt: skip
        self._config, self._spec, self._model = config, config.job.spec, model
        self._rate = self._spec.optimizer.learning_rate
        super().__init__([p for p in model.parameters() if p.requires_grad], {"lr": self._rate})
        self._replica, self._leaving, self._exporter = replica, leaving, exporter
        self._asker: Asker | None = None
        self._closed = False
        self._warned = False

    @property
    def index(self) -> int:
        """Number of this worker, from 0."""
        return self._config.index

    @property
    def stopped(self) -> bool:
        """The job is over, or this worker was told to leave."""
        return bool(self._replica.stop) or bool(self._leaving)

    def until_stopped(self, items: Iterable[Item]) -> Iterator[Item]:
        """One pass over `items`, batches or epochs, that ends early when the job is over."""
        if self.stopped:
            return
        for item in items:
            yield item
            if self.stopped:
                return

    def zero_grad(self, set_to_none: bool = True) -> None:
        """All gradients are 0, also where `set_to_none` would make them None: they stay views of one vector."""
        self._replica.vectors.flat.zero()

    def step(
        self, closure: Callable[[], Any] | None = None, *, loss: Any = None, samples: int | None = None
    ) -> Any:
        """Hands the gradient over to the servers and takes their weights, as often as the job says.

        `loss`, a number or scalar tensor, is shown and recorded. `samples` behind this gradient default to
        spec.batchSize. With `closure` its result is the loss and is returned. Raises Stopped, which ends the
        script, when the job was over before.
        """
        if self.stopped:
            raise Stopped
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._look_at_rate()
        figure = (
            float(loss.detach() if isinstance(loss, torch.Tensor) else loss) if loss is not None else None
        )
        if self._replica.step(samples or self._spec.batch_size, figure):
            # NB: what the script still does may take longer than the run waits for it.
            self._leave_extras()
        self._show_rate()
        return loss if closure is not None else None

    def _leave_extras(self) -> None:
        leave_extras(self._model, self._replica.vectors.flat, self._config.extras, self.index)

    def _look_at_rate(self) -> None:
        if self._warned or all(group["lr"] == self._rate for group in self.param_groups):
            return
        self._warned = True
        warnings.warn(
            "the script changed the learning rate of asgd.connect()'s optimizer, which has no effect: the job file"
            " sets it (spec.optimizer.learningRate and spec.optimizer.schedule)",
            stacklevel=3,
        )

    def _show_rate(self) -> None:
        self._rate = learning_rate(self._spec.optimizer, self._replica.core.samples, None)
        for group in self.param_groups:
            group["lr"] = self._rate

    def report(self, **metrics: float) -> None:
        """Tells the job evaluation metrics of the weights as they are here now; stopAfter.metric goes by them.

        One worker's word is enough: `if optimizer.index == 0`. Raises TryAgain when no server answers.
        """
        if self._asker is None:
            self._asker = Asker(self._config.servers[0], self._config.keys)
        version = self._replica.centre.channels[0].version
        figures = {name: float(value) for name, value in metrics.items()}
        who = self._config
        told = Evaluated(
            version, self._replica.core.samples, figures, False, "worker", who.index, who.incarnation
        )
        self._asker.ask(told, REPORT_SECONDS)

    def close(self, *, failed: bool = False) -> None:
        """Finishes the push in flight, unless the script has `failed`, and says goodbye.

        Called by itself when the script ends.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not failed:
                self._replica.flush()
                if self._replica.stop or not self._leaving:
                    self._leave_extras()
                self._replica.close("drained" if self._leaving else self._replica.stop)
        except TryAgain as error:
            if not self._leaving:
                raise
            say(f"worker {self.index} leaves: {error}")
        finally:
            self._replica.fail("the script has failed")
            if self._asker:
                self._asker.close()
            self._exporter.close()

    @property
    def exit_code(self) -> int:
        """What the worker process ends with."""
        return exit_code(self._replica.stop, bool(self._leaving))


def connect(model: nn.Module) -> Connection:
    """Joins `model` to the job that this process is a worker of; what comes back takes the optimizer's place.

    Its parameters become views of one flat vector, stay on their device and take the servers' weights. From here
    on random numbers differ from worker to worker, so that each shuffles its own way. Raises UserError outside
    `asgd run` and pods, or when the model does not fit the job; TryAgain when no server answers.
    """
    if joined.connection is not None:
        raise UserError("asgd.connect(): called twice; a worker trains one model")
    if not os.environ.get(Env.JOB):
        raise UserError(
            "asgd.connect(): this process is no worker of a job; start the script by `asgd run JOB.yaml` whose"
            " spec.entrypoint names it"
        )
    config = read_config()
    limit_threads(config.job.spec)
    keep_freed_memory()
    os.environ.update(worker_environment(config.job.spec, config.index))
    device = next((p.device for p in model.parameters()), None)
    spec, leaving = config.job.spec, catch_term()
    about = About(dataset=None, guarantee=GUARANTEE, digest=digest_of_model(model))
    flat = Flat(model, device or choose_device(spec.workers.devices.count, config.index))
    parts = assemble(config, flat, about, leaving=lambda: bool(leaving))
    exporter = Exporter(config.metrics, Views(collect=parts.replica.meters.collect))
    config.announce_address("worker", exporter.address)
    joined.connection = connection = Connection(config, parts.replica, model, leaving, exporter)
    parts.replica.join()
    atexit.register(connection.close)
    seed_worker(spec.seed, config.index)
    return connection
