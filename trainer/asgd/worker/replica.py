"""One worker's replica of the model between the user's loop and the centre: what `asgd worker` and `connect()` share.

After each backward pass the owner calls `step`; the replica asks the strategy what to do, pushes and pulls. With
`exchange.ahead: 1` the exchange runs in a thread while the next step computes, on weights that are one
version older; the
order of what touches the weights stays fixed: merge what came, take out what goes, then compute.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from asgd import kernel
from asgd.algorithms.attacks import attack_of
from asgd.algorithms.registry import strategy
from asgd.algorithms.schedule import learning_rate
from asgd.errors import TryAgain, UserError
from asgd.host.env import ProcessConfig
from asgd.kernel import F32
from asgd.parallel.plan import stages_of
from asgd.record.worker import recorder
from asgd.wire.partition import part_slices
from asgd.wire.reports import WorkerReport
from asgd.worker.device.accelerator import Staging, choose_device
from asgd.worker.device.buffers import Buffers
from asgd.worker.device.flat import Flat
from asgd.worker.meters import Meters
from asgd.worker.reading.batches import LeasedBatch
from asgd.worker.sending.centre import Centre, Outcome
from asgd.worker.sending.headers import Identity, PushMeta
from asgd.worker.sending.heartbeat import Heartbeat
from asgd.worker.sending.overlap import Overlap, worthwhile
from asgd.worker.task.probing import Probe

Visits = Sequence[tuple[int, int, int]]


@dataclass(slots=True)
class _Pending:
    """What has been computed since the last push."""

    samples: int = 0
    steps: int = 0
    visits: list[tuple[int, int, int]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class Replica:
    """A model joined to the job of `config`. Raises UserError when the model does not fit, TryAgain without servers.

    `device`: where the model is to be, if not where the spec puts it; `flat`: the model, put where it is to be
    already. `buffers`: told to the evaluator. `probe`: what the strategy compares weights on. `announced`:
    `pushing` is told of the backward passes, if `flat` has them whole.
    """

    def __init__(
        self, config: ProcessConfig, model: nn.Module, dataset: int | None, guarantee: str, *,
        device: torch.device | None = None, flat: Flat | None = None, buffers: Buffers | None = None,
        probe: Probe | None = None, evaluates: bool = False, announced: bool = False,
    ) -> None:  # fmt: skip
        spec = config.job.spec
        self.spec, self.config = spec, config
        self.flat = flat or Flat(model, device or choose_device(spec.workers.devices.count, config.index))
        self.device = self.flat.device
        self._buffers = buffers
        self.rule = strategy(str(spec.algorithm["name"])).worker(spec)
        self.rule.dataset = dataset
        if self.rule.probes:
            self.rule.judge = self._judge_by(probe)
        self.attack = attack_of(spec, config.index)
        overlapped = spec.exchange.ahead > 0 or self.rule.delay > 0
        self.meters = Meters(overlapped=overlapped)
        self.identity = Identity(
            config.job.name, "worker", config.index, config.incarnation, self.flat.size, self.flat.hash, dataset,
            config.node, guarantee, _tensors(self.flat), evaluates,
        )  # fmt: skip
        self.recorder = recorder(config.record, config.index, config.incarnation)
        self.centre = self._centre()
        self._dataset = dataset
        shared = self.centre.segment
        self._push = Staging(self.flat.size, self.device, shared.push if shared else None)
        self._pulled = Staging(self.flat.size, self.device, shared.pull if shared else None)
        self._thread: Executor | None = ThreadPoolExecutor(1, "exchange") if overlapped else None
        self._overlap = self._overlapped() if announced else None
        self._early: Executor | None = ThreadPoolExecutor(1, "exchange") if self._overlap else None
        self._left_early: Future[Outcome | None] | None = None
        self._flying: Future[Outcome] | None = None
        self._flying_pull = False
        self._land_at = 0
        """The step after which the exchange under way is waited for, where the strategy lets it take some."""
        self._pending = _Pending()
        self._versions: list[int] = []
        """Versions of the shards in the weights of this moment, and in those of the newest gradient."""
        self._computed_from: list[int] = []
        self._steps = 0
        self.samples = 0
        """Samples of the whole job, as far as this worker knows."""
        self.stop = ""
        self.heartbeat: Heartbeat | None = None
        self._closing = False

    def _centre(self) -> Centre:
        config, spec = self.config, self.spec
        return Centre(
            config.servers, config.keys, self.identity, spec.codec,
            split=strategy(str(spec.algorithm["name"])).server(spec).pulls_wait,
            patience_seconds=config.join_timeout_seconds, lane=spec.exchange.lane, recorder=self.recorder,
        )  # fmt: skip

    def _judge_by(self, probe: Probe | None) -> Callable[[torch.Tensor], float]:
        if probe is None:
            name = self.spec.algorithm["name"]
            raise UserError(
                f"spec.algorithm.name: {name} compares weights by the loss of a Task, which a script with its own loop"
                " does not have; allowed: an entrypoint module:callable that returns one"
            )
        return lambda weights: probe.loss(self.flat, self.device, weights)

    def _overlapped(self) -> Overlap | None:
        """What lets pushes leave during backward, where they are the raw gradient and nothing else has to wait."""
        spec, shards = self.spec, len(self.centre.channels)
        plain = spec.exchange.overlap and spec.optimizer.clip_norm is None and not self.attack
        if not plain or not self.rule.raw or self._thread or stages_of(spec) > 1:
            return None
        return Overlap(self.flat, shards, self._push) if worthwhile(self.flat.size, shards) else None

    def join(self) -> str:
        """Joins all shards and takes their weights; returns why the job is over, if it is."""
        self.stop = self.centre.join(lambda: self._push.out(self.flat.weights))
        self.heartbeat = Heartbeat(self.config.servers[0], self.config.keys, self.identity, self._report)
        return self.stop or self.refresh()

    def refresh(self) -> str:
        """Takes the servers' weights as they are now: what a worker loaded before its first step is old by then."""
        self._take(self.centre.pull(self._pulled.host))
        if not self.stop:
            self.flat.weights.copy_(self._pulled.on_device())
            self.rule.joined(self.flat.weights)
            self._versions = self.centre.versions
        return self.stop

    def _report(self) -> WorkerReport:
        report = self.meters.report()
        if self._buffers and self.heartbeat:
            every = self.heartbeat.heard.every_seconds
            report.buffers = self._buffers.report(self._steps, every, self._closing)
        return report

    # -- one step ----------------------------------------------------------------------------------

    @contextmanager
    def pushing(self, item: LeasedBatch, loss: Tensor, before: float, share: float) -> Iterator[None]:
        """Around the last backward pass of a batch, whose loss is `before` + `loss` x `share`; then comes `step`.

        The gradient leaves as it is computed, unless the loss is not finite.
        """
        overlap = self._overlap
        if overlap is None or overlap.given_up:
            yield
            return
        overlap.begin()
        if overlap.trusted and self._early:
            value = overlap.loss(loss, before, share)
            self._left_early = self._early.submit(self._push_early, overlap, item, value)
        with overlap.computing():
            yield

    def _push_early(self, overlap: Overlap, item: LeasedBatch, loss: Callable[[], float]) -> Outcome | None:
        """In the exchange's thread; None when the loss says that there is nothing to push like that."""
        value = loss()
        if not math.isfinite(value):
            return None
        self.centre.sequence += 1
        meta = PushMeta(
            self.centre.sequence, item.samples, 1, True, value, list(item.visits), bases=self._versions, by_chunk=True
        )  # fmt: skip
        return self.centre.exchange(overlap.vector, self._pulled.host, meta, overlap)

    def _came_early(self, samples: int, loss: float | None) -> bool:
        """Whether this step's gradient has left already; then it is waited for and merged."""
        early, self._left_early = self._left_early, None
        if early is None:
            return False
        # NB: what a step waits for is all that an exchange costs here; the rest runs beside the backward pass.
        with self.meters.timed("exchange"):
            outcome = early.result()
        if outcome is None:
            return False
        self._steps += 1
        self.meters.step(samples, loss)
        self._flying_pull = True
        self._merge(outcome)
        return True

    def step(self, samples: int, loss: float | None, visits: Visits = ()) -> str:
        """After a backward pass over `samples` samples; returns why the job stops, or ''."""
        if self._came_early(samples, loss):
            return self.stop
        gradient = self.flat.gather()
        if self.spec.optimizer.clip_norm is not None:
            self._clip(gradient, self.spec.optimizer.clip_norm)
        self._computed_from = self._versions
        if not self.rule.delay:
            self._land()
        self._steps += 1
        rate = learning_rate(self.spec.optimizer, self.samples, self._dataset)
        self.rule.step(self.flat.weights, gradient, rate)
        self._note(samples, loss, visits)
        if self._steps >= self._land_at:
            self._land()
        turn = self.rule.turn(self._steps)
        if turn.push or turn.pull:
            self._exchange(turn.push, turn.pull)
        return self.stop

    def flush(self) -> str:
        """Pushes local steps that are not pushed yet, and waits for an exchange under way."""
        self._land()
        if self._pending.steps and not self.stop:
            self._exchange(True, True)
            self._land()
        return self.stop

    def _note(self, samples: int, loss: float | None, visits: Visits) -> None:
        self._pending.samples += samples
        self._pending.steps += 1
        self._pending.visits.extend(visits)
        if loss is not None:
            self._pending.losses.append(loss)
        self.meters.step(samples, loss)

    def _clip(self, gradient: torch.Tensor, limit: float) -> None:
        norm = float(gradient.norm())
        self.meters.gradient_norm = norm
        if norm > limit:
            gradient.mul_(limit / norm)

    # -- exchange ----------------------------------------------------------------------------------

    def _exchange(self, push: bool, pull: bool) -> None:
        vector, meta = None, PushMeta(0, 0, 0, True, None, [])
        self._land_at = self._steps + self.rule.delay
        if push:
            outgoing = self.rule.outgoing(self.flat.weights, self.flat.grads)
            if outgoing is not None:
                # NB: the next step overwrites gradients while this push is on its way, so it leaves from a copy.
                vector = self._push.copy(outgoing) if self._thread else self._push.out(outgoing)
                if self.attack:
                    vector = self.attack.spoil(vector)
            meta = self._meta(vector)
        meta.part, meta.parts = self.rule.part, self.rule.parts
        into = self._pulled.host if pull else None
        self._flying_pull = pull
        if self._thread:
            self._flying = self._thread.submit(self._timed, vector, into, meta)
        else:
            self._merge(self._timed(vector, into, meta))

    def _timed(self, vector: Any, into: Any, meta: PushMeta) -> Outcome:
        with self.meters.timed("exchange"):
            return self.centre.exchange(vector, into, meta)

    def _meta(self, vector: F32 | None) -> PushMeta:
        pending, self._pending = self._pending, _Pending()
        self.centre.sequence += 1
        loss = sum(pending.losses) / len(pending.losses) if pending.losses else None
        finite = math.isfinite(loss or 0.0) if vector is None else kernel.finite(vector)
        return PushMeta(
            self.centre.sequence, pending.samples, pending.steps, finite, loss, pending.visits,
            self.rule.meta(), vector is None, self._computed_from if self.rule.parts == 1 else (),
        )  # fmt: skip

    def _land(self) -> None:
        """Waits for the exchange under way, and those that follow it, and merges them."""
        while self._flying is not None:
            flying, self._flying = self._flying, None
            with self.meters.timed("wait"):
                outcome = flying.result()
            self._merge(outcome)

    def _merge(self, outcome: Outcome) -> None:
        self._take(outcome)
        if self.stop:
            return
        if self._flying_pull:
            if not outcome.empty:
                rule, shards = self.rule, len(self.centre.channels)
                rule.spans = part_slices(self.flat.size, shards, rule.part, rule.parts)
                rule.incoming(self.flat.weights, self._pulled.on_device())
            self._versions = self.centre.versions
        turn = self.rule.follow()
        if turn.push or turn.pull:
            self._exchange(turn.push, turn.pull)

    def _take(self, outcome: Outcome) -> None:
        self.samples = outcome.samples
        self.rule.workers, self.rule.notes = outcome.workers, outcome.notes
        self.stop = outcome.stop or self.stop
        self.meters.exchanged(outcome, self.centre.versions, self.centre.ways)

    def close(self, reason: str = "") -> None:
        """Finishes what is on its way and says goodbye to every shard."""
        self._land()
        if reason != "drained":
            self._part()
        self._closing = True
        for thread in (self._thread, self._early):
            if thread:
                thread.shutdown()
        if self._overlap:
            self._overlap.close()
        if self.heartbeat:
            self.heartbeat.close()
        self.centre.leave(reason)

    def _part(self) -> None:
        """The job is over: leaves what the strategy wants of these weights, if the servers still answer."""
        vector = self.rule.parting(self.flat.weights)
        if vector is None:
            return
        host = self._push.out(vector)
        self._pending = _Pending()  # steps that were not pushed before the end do not count
        with suppress(TryAgain):
            self.centre.exchange(host, None, self._meta(host))


def _tensors(flat: Flat) -> bytes:
    return json.dumps(flat.layout).encode()
