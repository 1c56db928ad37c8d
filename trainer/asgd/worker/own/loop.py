"""A script's own loop in a running job: joining at the first use, data, steps, reports, the end.

`Connection` is that with one model and in the place of its optimizer, `Models` with several, each by steps of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from asgd.errors import AsgdError, TryAgain
from asgd.host.exporter import Exporter
from asgd.host.say import say
from asgd.spec.types import JobSpec
from asgd.wire.ask import Asker
from asgd.wire.messages import Evaluated
from asgd.worker import scalars
from asgd.worker.device.extras import leave_extras
from asgd.worker.device.flat import Flat
from asgd.worker.failing import tell, tell_after_stop
from asgd.worker.optimizing.handed import Handed
from asgd.worker.own.changes import Changes
from asgd.worker.own.comparing import Comparing
from asgd.worker.own.dealing import Dealing
from asgd.worker.own.groups import Groups
from asgd.worker.own.order import order_of
from asgd.worker.own.pacing import Pace, follow, watch
from asgd.worker.own.refusals import refuse_epochs, undone
from asgd.worker.own.sharing import is_count, share
from asgd.worker.own.start import FirstUse
from asgd.worker.process import exit_code
from asgd.worker.reading.leased import Leasing
from asgd.worker.replica import Replica
from asgd.worker.sending.leases import Leases, Wanted

Item = TypeVar("Item")
EVERY_SAMPLE = "every sample once an epoch"
REPORT_SECONDS = 30.0
STRUCTURE_STEPS = 50
"""So often it is looked whether the model has the parameters still that were connected."""


class Stopped(SystemExit):
    """The job is over. Raised by a `step` that comes after its end; uncaught it ends the script well."""


@dataclass(frozen=True, slots=True)
class Joining:
    """Who this worker is, and its ways to shard 0 beside the exchanges."""

    index: int
    incarnation: int
    spec: JobSpec
    asker: Asker
    leases: Leases
    exporter: Exporter
    extras: Path | None = None
    """Where buffers and frozen parameters are left for the model file."""
    handed: Sequence[Handed] = ()
    """The script's own optimizer, or one of each model."""


class Loop:
    """`optimizers`: whose schedulers follow the job's samples, for the script has handed them over."""

    def __init__(
        self, joining: Joining, replica: Replica, model: nn.Module, flat: Flat, leasing: Leasing, leaving: list[int],
        optimizers: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        self._joining, self._spec, self._replica, self._model = joining, joining.spec, replica, model
        self._leasing, self._leaving = leasing, leaving
        self._changes = Changes(model, flat)
        self._first = FirstUse(model, self._begin)
        self._dealing: Dealing | None = None
        self._comparing = Comparing(replica)
        self._joined = self._begun = self._closed = self._warned_of_rest = False
        self._steps = 0
        self._items = False  # data of another batch have come since the step before
        self._within = False  # a batch of `until_stopped` is in hand, so the pass ends after it
        self._pace = follow(*optimizers) if optimizers else Pace()

    @property
    def index(self) -> int:
        """Number of this worker, from 0."""
        return self._joining.index

    @property
    def job_samples(self) -> int:
        """Samples that all workers together have made steps of, as far as this one knows."""
        return self._replica.core.samples

    @property
    def stopped(self) -> bool:
        """The job is over, or this worker was told to leave."""
        return bool(self._replica.stop) or bool(self._leaving)

    # -- joining -----------------------------------------------------------------------------------

    def join(self) -> None:
        """Says hello to the servers. They are given this model's weights when they have none; else it takes theirs."""
        self._joined = True
        wrote = self._changes.written()
        own = self._replica.vectors.weights.clone() if wrote else None
        self._replica.join()
        if own is not None and not torch.equal(own, self._replica.vectors.weights):
            self._say_late(wrote)
        self._changes.settle()

    def _begin(self) -> None:
        """The model is used for the first time: from now on its weights are the job's."""
        if self._begun:
            return
        self._begun = True
        self._first.call_off()
        self._changes.check_structure()
        if not self._joined:
            self.join()
        elif wrote := self._changes.written(self._replica.vectors.landed()):
            if not self._replica.stop:
                self._replica.vectors.flat.load(self._replica.vectors.landed())
            self._say_late(wrote)
            self._changes.settle()

    def _say_late(self, name: str) -> None:
        say(
            f"worker {self.index}: the job has weights already, so what this script wrote into {name} after"
            " asgd.connect() is replaced by the job's"
        )

    # -- data --------------------------------------------------------------------------------------

    def until_stopped(self, items: Iterable[Item], deal: bool = True) -> Pass[Item]:
        """One pass over `items`, batches or epochs, that ends early when the job is over.

        A map-style `DataLoader` is dealt out: the pass is an epoch of the job, of which this worker gets a part. Of any
        other data worker i of n takes each n-th batch. `deal=False`: this worker reads all of it. Numbers alone, as
        `range(epochs)` gives them, are never dealt.
        """
        return Pass(self, items, deal)

    def over(self, items: Iterable[Any], deal: bool) -> Iterator[Any]:
        """What a `Pass` goes over."""
        try:
            for item in self._read(items, deal):
                self._within = True
                yield item
                self._within = False
        finally:
            self._within = False

    def _read(self, items: Iterable[Any], deal: bool) -> Iterator[Any]:
        if self.stopped:
            return
        order = order_of(items, self._spec.seed) if deal and isinstance(items, DataLoader) else None
        if order and isinstance(items, DataLoader):
            yield from self._dealt(items, order)
            return
        if deal:
            self._comparing.shared(items)
        try:
            for item in share(items, self.index, self.readers) if deal else items:
                self._items = not is_count(item)
                self._pace.passing = self._pace.passing or self._items
                yield item
                if self.stopped:
                    return
        finally:
            self._pace.ended()

    def _dealt(self, loader: DataLoader[Any], order: Any) -> Iterator[Any]:
        if self._dealing is None:
            own, batch = self._spec.batch_size, getattr(loader.batch_sampler, "batch_size", 1)
            self._replica.declare(order.size, EVERY_SAMPLE, self._comparing.dealt(loader, order))

            def tell(wanted: Wanted) -> None:
                # NB: micro-batches that add up to the job's batch come from one range where they can.
                wanted.batch = own if own % wanted.batch == 0 else wanted.batch
                self._joining.leases.wanted = wanted

            self._dealing = Dealing(
                order, batch, self._leasing, tell, over=lambda: self.stopped, pause=self._replica.wait
            )
        self._begin()
        self._pace.passing = True
        try:
            yield from self._dealing.batches(loader, order)
        finally:
            self._pace.ended(self._dealing.epoch)

    @property
    def readers(self) -> int:
        """Workers that share a stream: those of the job's file, as it was when this one started."""
        return max(self._spec.workers.replicas, self.index + 1)

    # -- steps -------------------------------------------------------------------------------------

    def _step(
        self, face: Groups, closure: Callable[[], Any] | None, loss: Any, count: Callable[[int], int]
    ) -> Any:
        """A step of the model whose optimizer is `face`; `count`: its samples, given how many were dealt for it.

        As `Connection.step`.
        """
        self._begin()
        if self.stopped:
            if not (face.name and self._within):
                raise Stopped
            # NB: the step of another model on this batch was the job's last one; what comes after the pass is to run.
            with torch.enable_grad():
                return closure() if closure is not None else None
        if face.name:
            self._replica.core.rule.part = face.number
        self._look_at_model(face)
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        face._look_at_rate()
        self._say_settings(face)
        self._changes.check_gradients()
        figure = scalars.loss_of(loss, self._replica.meters.beside)
        if face.name and figure is not None:
            self._replica.meters.beside.add({face.name: figure})
        visits = self._take_visits()
        samples = count(sum(stop - start for _, start, stop in visits))
        if self._replica.step(samples, figure, visits):
            # NB: what the script still does may take longer than the run waits for it.
            self._leave_extras()
        self._steps += 1
        self._items = False
        self._pace.stepped(samples, self._replica.core.samples)
        self._changes.settle()
        face._show_rate(self._replica.core.rate)
        return loss if closure is not None else None

    def _say_no_data(self, of: str) -> None:
        if not self._steps:
            size = self._spec.batch_size
            say(
                f"worker {self.index}: no data are dealt, so each step{of} counts as {size} samples (spec.batchSize);"
                " optimizer.step(loss=loss, samples=N) tells another number"
            )

    def _say_settings(self, face: Groups) -> None:
        """What the script's own optimizer has in its groups now."""
        if (handed := face._handed) is not None:
            watch()
            self._replica.core.settle(handed.settings())
            handed.told()

    def _leave_extras(self) -> None:
        flat, core = self._replica.vectors.flat, self._replica.core
        leave_extras(self._model, flat, self._joining.extras, self.index, core.steps, core.samples)

    def _take_visits(self) -> list[tuple[int, int, int]]:
        if self._dealing is None:
            refuse_epochs(self._spec)
            return []
        visits, self._dealing.left = self._dealing.left, []
        return visits

    def _look_at_model(self, face: Groups | None = None) -> None:
        if self._steps < 3 or self._steps % STRUCTURE_STEPS == 0:
            self._changes.check_structure()
        core = self._replica.core
        self._replica.vectors.flat.absorb()
        if not core.rule.keeps_changes:
            # NB: what was pulled is what the weights are only where each step pulls and none is made here.
            servers = self._replica.vectors.landed() if core.rule.raw and not core.overlapped else None
            if name := self._changes.written(servers):
                raise undone(name, self._spec)
        if face is None or not face.moves or self._warned_of_rest:
            return
        if name := self._changes.resting(face._trained):
            self._warned_of_rest = True
            say(
                f"worker {self.index}: parameter {name} was frozen after asgd.connect(): its gradient is 0 from now on,"
                f" and the servers' {face.rule_name} with momentum or weight decay moves it on"
            )

    def put(self) -> None:
        """The model's weights are meant as they are now.

        Before the first step they become the job's, if it has none yet. Later they are part of what this worker pushes
        next; raises UserError where the strategy pushes gradients, since the next pull would undo them.
        """
        if not self._begun:
            self._begin()
            return
        if self._replica.core.rule.keeps_changes:
            self._changes.settle()
        else:
            self._look_at_model()

    # -- the job -----------------------------------------------------------------------------------

    def report(self, **metrics: float) -> None:
        """Tells the job evaluation metrics of the weights as they are here now; stopAfter.metric goes by them.

        One worker's word is enough: `if optimizer.index == 0`. Raises TryAgain when no server answers.
        """
        self._begin()
        who, version = self._joining, self._replica.centre.channels[0].version
        figures = {name: float(value) for name, value in metrics.items()}
        told = Evaluated(
            version, self._replica.core.samples, figures, False, "worker", who.index, who.incarnation
        )
        who.asker.ask(told, REPORT_SECONDS)

    def close(self, *, failed: bool = False) -> None:
        """Finishes the push in flight, unless the script has `failed`, and says goodbye.

        Called by itself when the script ends.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not failed:
                self._begin()
                # NB: the only strategy that takes a push without steps for what it is.
                sums = self._spec.algorithm["name"] == "asgd" and self._replica.core.rule.keeps_changes
                self._replica.flush(sums and bool(self._changes.written()))
                if self._dealing and not self.stopped:
                    self._dealing.settle()
                if self._replica.stop or not self._leaving:
                    self._leave_extras()
                self._replica.close("drained" if self._leaving else self._replica.stop)
        except TryAgain as error:
            if not self._leaving:
                raise
            say(f"worker {self.index} leaves: {error}")
        finally:
            self._first.call_off()
            self._replica.fail("the script has failed")
            self._joining.asker.close()
            self._joining.exporter.close()

    def fail(self, error: BaseException) -> bool:
        """The script has raised. True: after it was told to stop, so that it ends as if it had not.

        Raises UserError when every worker's has raised, at the same place before its first push.
        """
        who, afterwards = self._joining, self.stopped and not isinstance(error, AsgdError)
        try:
            if afterwards:
                tell_after_stop(error)
            elif not isinstance(error, AsgdError) and not self._closed:
                core = self._replica.core
                tell(error, self._spec.entrypoint, who.index, who.incarnation, core, who.asker)
        finally:
            self.close(failed=True)
        return afterwards

    @property
    def exit_code(self) -> int:
        """What the worker process ends with."""
        return exit_code(self._replica.stop, bool(self._leaving))


class Pass(Generic[Item]):
    """One pass over a loop's items; `len` is what this worker can expect of it."""

    def __init__(self, loop: Loop, items: Iterable[Item], deal: bool) -> None:
        self._loop, self._items, self._deal = loop, items, deal
        self._running: Iterator[Item] | None = None

    def __iter__(self) -> Iterator[Item]:
        return self._loop.over(self._items, self._deal)

    def __next__(self) -> Item:
        if self._running is None:
            self._running = iter(self)
        return next(self._running)

    def __len__(self) -> int:
        whole = len(self._items)  # type: ignore[arg-type]  # raises TypeError where there is none, as it should
        data = isinstance(self._items, DataLoader) and self._deal
        return math.ceil(whole / self._loop.readers) if data else whole
