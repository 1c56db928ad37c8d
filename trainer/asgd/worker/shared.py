"""What simulated workers compute: a job's own PyTorch task, or any object that gives gradients (`Work`).

All workers share one model; a worker's weights, buffers and random numbers are put in before its turn and taken out
after it, so each sees what it would see in a process of its own. Data is read by leases as in a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch

from asgd.algorithms.base import WorkerStrategy
from asgd.errors import AsgdError, UserError
from asgd.kernel import F32
from asgd.spec.types import JobSpec
from asgd.wire.rule import with_rule
from asgd.worker.device.backward import backward
from asgd.worker.device.batch_norm import recompute
from asgd.worker.device.buffers import least_steps
from asgd.worker.device.extras import WholeModel, whole_model
from asgd.worker.device.flat import Flat, layout_hash, layout_of
from asgd.worker.device.modes import start_training
from asgd.worker.device.randomness import Randomness, Turns, random_state, set_random_state
from asgd.worker.left import LAST_PART
from asgd.worker.optimizing.following import Following
from asgd.worker.optimizing.of_task import equip, rule_of
from asgd.worker.oracle import Oracle
from asgd.worker.pieces import pieces_of
from asgd.worker.reading import data
from asgd.worker.reading.leased import LeasedBatch, NextLease, Ranges, Waiting
from asgd.worker.reading.order import epoch_order
from asgd.worker.scalars import Scalars
from asgd.worker.task.build import build_task
from asgd.worker.task.measuring import measured
from asgd.worker.task.probing import take_probe
from asgd.worker.users_code import is_theirs, sentence
from asgd.worker.wishes import Observer

CPU = torch.device("cpu")


class Batches(Protocol):
    """One worker's batches."""

    def next(self) -> LeasedBatch | Waiting | None:
        """The next batch, perhaps not read yet; WAIT: ask again later; None: no more."""

    def load(self, item: LeasedBatch) -> LeasedBatch:
        """The batch that `next` gave, read: right before its gradient, so that both are one turn of the worker."""


class Work(Protocol):
    """A model and its data as flat vectors of shape (size,)."""

    size: int
    layout: str
    tensors: bytes
    dataset: int | None
    guarantee: str

    def initial(self) -> F32:
        """The seeded initial weights."""

    def open(self, worker: int, lease: NextLease) -> Batches:
        """Worker `worker` (re)starts."""

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        """Writes the gradient at `weights` into `out`; returns the batch's mean loss."""

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> Following | None:
        """A worker with these vectors (size,) steps by `rule`: it is given an optimizer of the task's own, if any.

        Returns who moves that one's figures. Where the servers are to run it, the work has `brought` as well.
        """

    def judge(self, worker: int, weights: F32) -> float:
        """Worker `worker`'s loss of `weights` on the probe set, for strategies that want one."""

    def evaluate(self, weights: F32) -> dict[str, float]:
        """Metrics of the job's answer; empty when there are none."""

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        """What Zeno's oracle finds at each point, on the samples that `version` chooses."""


class TorchWork:
    """The task of `spec.entrypoint`. Raises UserError on what is wrong with it."""

    def __init__(self, spec: JobSpec) -> None:
        torch.set_num_threads(1)
        self.task = build_task(spec)
        self.brought = rule_of(self.task, spec)
        """What the servers are told of the task's own optimizer."""
        self.spec = spec = with_rule(spec, self.brought)
        self.probe = take_probe(self.task, spec)
        layout = layout_of(self.task.model)
        self.layout, self.tensors = layout_hash(layout), json.dumps(layout).encode()
        self.flat = Flat(self.task.model, CPU)
        self.size = self.flat.size
        self.dataset = data.dataset_size(self.task, spec.entrypoint)
        self.guarantee = data.guarantee(self.task)
        self._start = self.flat.weights.numpy().copy()
        self._buffers = list(self.task.model.buffers())
        self._fresh = [buffer.clone() for buffer in self._buffers]
        self._persons: dict[int, _Person] = {}
        self._samples = 0
        self._turns = Turns()
        self._pieces = pieces_of(self.task, spec)
        self._judge = build_task(spec)
        self._judged = Flat(self._judge.model, CPU)
        start_training(self._judge.model)
        self._oracle = Oracle(spec, self._judge, self._judged, CPU)
        start_training(self.task.model)

    def initial(self) -> F32:
        return self._start.copy()

    def open(self, worker: int, lease: NextLease) -> Batches:
        self._turns.end()
        before = random_state()
        # open_batches seeds this process as it would seed the worker's own.
        stream = data.open_batches(self.task, self.spec, worker, lambda: None)
        self._persons[worker] = _Person([buffer.clone() for buffer in self._fresh])
        set_random_state(before)
        return _Streamed(self, worker, stream) if self.dataset is None else _Leased(self, worker, lease)

    @contextmanager
    def turn(self, worker: int) -> Iterator[None]:
        """Worker `worker`'s random numbers and buffers are in place. Raises UserError for what users' code raises."""
        person = self._persons[worker]
        self._turns.give(person.random)
        for buffer, own in zip(self._buffers, person.buffers, strict=True):
            buffer.copy_(own)
        try:
            yield
        except Exception as error:
            # Whatever users' code raises is theirs to mend.
            if isinstance(error, AsgdError) or not is_theirs(error):
                raise
            raise UserError(
                f"spec.entrypoint: {self.spec.entrypoint} failed in worker {worker}: {sentence(error)}"
            ) from error
        finally:
            for buffer, own in zip(self._buffers, person.buffers, strict=True):
                own.copy_(buffer)

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        with self.turn(worker):
            self.flat.weights.copy_(torch.from_numpy(weights))
            beside = self._persons[worker].scalars
            loss = backward(self.task, self.flat, CPU, item, pieces=self._pieces, beside=beside)
            out[:] = self.flat.gather().numpy()
        self._samples += item.samples
        self._persons[worker].stepped(self._samples)
        return loss

    def observer(self, worker: int) -> Observer:
        """Beside worker `worker`: knows what its loss function returns beside the loss."""
        return _Beside(self._persons, worker)

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> Following | None:
        return equip(rule, self.task, self.spec, self.flat, (weights, gradient), brought=self.brought)

    def judge(self, worker: int, weights: F32) -> float:
        assert self.probe is not None
        with self.turn(worker):
            return self.probe.loss(self.flat, CPU, torch.from_numpy(weights))

    def evaluate(self, weights: F32) -> dict[str, float]:
        if self._judge.evaluate is None:
            return {}
        self._turns.end()
        before = random_state()
        self._judged.load(torch.from_numpy(weights))
        recompute(self._judge, self.spec, CPU)
        metrics = measured(self._judge)
        set_random_state(before)
        return metrics

    def whole(self, answer: Mapping[str, F32]) -> WholeModel:
        """The model with the parameters `answer`, and all that `asgd run` would save beside them."""
        model = self._judge.model
        if self._judge.evaluate is None:
            model = self.task.model
            self._settle()
        return whole_model(model, answer)

    def _settle(self) -> None:
        """Nothing was evaluated: the model's buffers are the lowest worker's, or their mean, as in `left.gather`."""
        least, end = least_steps(self.task.model), LAST_PART * self._samples
        everybody = [self._persons[index] for index in sorted(self._persons)]
        enough = [one for one in everybody if one.steps >= least and one.samples >= end]
        chosen = enough or sorted(everybody, key=lambda one: -one.steps)[:1]
        people = [one.buffers for one in chosen] or [self._fresh]
        for buffer, *own in zip(self._buffers, *people, strict=True):
            mean = self.spec.buffers == "average" and buffer.is_floating_point()
            buffer.copy_(torch.stack(own).double().mean(0) if mean else own[0])

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        self._turns.end()
        before = random_state()
        found = self._oracle.losses(version, points)
        set_random_state(before)
        return found


class _Person:
    """What is a worker's own while another has its turn."""

    def __init__(self, buffers: list[torch.Tensor]) -> None:
        self.buffers = buffers
        self.steps = self.samples = 0
        """Steps that these buffers have seen, and samples of the job at the newest one."""
        self.random = Randomness()
        self.scalars = Scalars()

    def stepped(self, samples: int) -> None:
        """One more, when the job had `samples` samples."""
        self.steps, self.samples = self.steps + 1, samples


class _Beside(Observer):
    """Of whoever is `worker` at the moment it is asked."""

    def __init__(self, persons: Mapping[int, _Person], worker: int) -> None:
        self._persons, self._worker = persons, worker

    def scalars(self) -> dict[str, float]:
        return self._persons[self._worker].scalars.take()

    def dropped(self) -> None:
        self._persons[self._worker].scalars.drop()


class _Leased:
    """Batches of leased ranges; like a run's, a batch never crosses a lease."""

    def __init__(self, work: TorchWork, worker: int, lease: NextLease) -> None:
        self._work, self._worker = work, worker
        self._ranges = Ranges(work.spec.batch_size, lease)

    def next(self) -> LeasedBatch | Waiting | None:
        part = self._ranges.next()
        if part is None or isinstance(part, Waiting):
            return part
        epoch, start, stop = part
        indices = epoch_order(self._work.spec.seed, epoch, self._work.dataset or 0)[start:stop].tolist()
        return LeasedBatch(indices, stop - start, (part,))

    def load(self, item: LeasedBatch) -> LeasedBatch:
        task = self._work.task
        with self._work.turn(self._worker):
            batch = data.fetch(task.data, item.batch, task.collate)
        return LeasedBatch(batch, item.samples, item.visits)


class _Streamed:
    """A stream of the worker's own."""

    def __init__(self, work: TorchWork, worker: int, stream: Iterator[LeasedBatch | Waiting]) -> None:
        self._work, self._worker, self._stream = work, worker, stream

    def next(self) -> LeasedBatch | Waiting | None:
        with self._work.turn(self._worker):
            return next(self._stream, None)

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item
