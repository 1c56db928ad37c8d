"""Zeno's oracle: the losses at the centre and after a step by each worker's gradient, on a fresh batch each round.

It lives in the evaluator's process, which has the model and the data; the simulator calls the same `Oracle`. The
centre and one gradient after the other are pulled from the shards, so a round costs m + 1 models on the wire and
one in memory. The model computes as in evaluation: no dropout, batch norm by its buffers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
import zmq

from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.wire import control
from asgd.wire.messages import AnyMessage, Judged, Question, decode, encode
from asgd.worker.device.accelerator import to_device
from asgd.worker.device.flat import Flat
from asgd.worker.device.modes import evaluating
from asgd.worker.reading.batches import StreamedBatches
from asgd.worker.reading.data import dataset_size, fetch, stream_loader

SAMPLES = 4
"""As in the authors' demo."""
REPORT_SECONDS = 1.0


def trials(vector: Callable[[int], F32], members: Iterable[int], rate: float) -> Iterator[F32]:
    """The centre (`vector(-1)`), then where a step of length `rate` by each member's vector leads."""
    centre = vector(-1).copy()
    yield centre
    for worker in members:
        point = vector(worker) * np.float32(-rate)
        point += centre
        yield point


class Oracle:
    """Judges points by `task`; its model's weights are `flat`, which is overwritten."""

    def __init__(self, spec: JobSpec, task: Task, flat: Flat, device: torch.device) -> None:
        self._spec, self._task, self._flat, self._device = spec, task, flat, device
        self._count = int(spec.algorithm.get("samples", SAMPLES))
        self._dataset = dataset_size(task, spec.entrypoint)
        self._stream: Iterator[Any] | None = None

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        """The loss at each (N,) point, all on one batch that `version` chooses."""
        batch = to_device(self._batch(version), self._device)
        model, found = self._task.model, []
        with evaluating(model), torch.no_grad():
            for point in points:
                self._flat.load(torch.from_numpy(point))
                found.append(float(self._task.loss(model, batch)))
        return found

    def _batch(self, version: int) -> Any:
        """`samples` of a map-style dataset; of a stream the next batch."""
        if self._dataset is None:
            if self._stream is None:
                self._stream = iter(StreamedBatches(stream_loader(self._task, self._spec)))
            return next(self._stream).batch
        # NB: the leading word keeps these draws apart from the epochs' orders, which use (seed, epoch).
        random = np.random.default_rng([0x2E20, self._spec.seed, version])
        indices = random.choice(self._dataset, min(self._count, self._dataset), replace=False)
        return fetch(self._task.data, indices.tolist(), self._task.collate)


class Judge:
    """What the oracle says to shard 0, without I/O: a question that comes twice is judged once.

    `losses(version, points)` as `Oracle.losses`; `vector(worker)` gives a contribution, -1 the centre.
    """

    def __init__(
        self, losses: Callable[[int, Iterable[F32]], list[float]], vector: Callable[[int], F32]
    ) -> None:
        self._losses, self._vector = losses, vector
        self.answer = Judged(0, 0)
        """The newest, also what is said now and then unasked."""

    def hear(self, message: AnyMessage) -> bool:
        """Judges what shard 0 asks; whether it has asked something."""
        if not isinstance(message, Question):
            return False
        if (message.number, message.term) != (self.answer.number, self.answer.term):
            points = trials(self._vector, message.members, message.rate)
            self.answer = Judged(message.number, message.term, self._losses(message.version, points))
        return True


class OracleLink:
    """Talks with shard 0 at `endpoint`; `vector(worker)` pulls a contribution, -1 the centre."""

    def __init__(
        self, endpoint: str, keys: control.Keys | None, oracle: Oracle, vector: Callable[[int], F32]
    ) -> None:
        self._judge = Judge(oracle.losses, vector)
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = control.dealer(self._context, endpoint, keys)
        # NB: while shard 0 is away only the newest report is worth keeping.
        self._socket.sndhwm = 2
        self._due = 0.0

    def serve(self, seconds: float) -> None:
        """Answers what is asked within `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if time.monotonic() >= self._due:
                self._report()
            if self._socket.poll(max(1, int(left * 1000))):
                self._hear(self._socket.recv())

    def _report(self) -> None:
        self._due = time.monotonic() + REPORT_SECONDS
        try:
            self._socket.send(encode(self._judge.answer), zmq.NOBLOCK)
        except zmq.Again:
            return

    def _hear(self, frame: bytes) -> None:
        try:
            message = decode(frame)
        except ProtocolError:
            return
        if self._judge.hear(message):
            self._report()

    def close(self) -> None:
        """Ends the connection."""
        self._context.destroy(linger=0)
