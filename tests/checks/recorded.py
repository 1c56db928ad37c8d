"""One job three times over: real sockets and threads in this process with a recording, virtual time, a replay.

Of several workers in real time nobody knows who comes first. `RecordedOrder` is a network that delivers to each
server what its log names next and holds all else back, so that the simulator goes the run's way.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from asgd.drivers.replay.stage import Stage
from asgd.drivers.virtual.clock import Action, Clock
from asgd.drivers.virtual.network import Network
from asgd.drivers.virtual.simulation import Simulation
from asgd.host.env import ProcessConfig
from asgd.kernel import F32
from asgd.record.format import AnyRecord, Brought, Closed, Joined, Left, Pushed, Told
from asgd.record.reading import Recording, read_logs
from asgd.record.run import RunRecord
from asgd.server.core import ServerCore
from asgd.server.process import open_service
from asgd.server.service import Service
from asgd.server.shard import Shard
from asgd.spec.types import Job
from asgd.wire.messages import Bye, Decided, Exchange, Gathered, Granted, Hello, Init, Message, Pull
from asgd.worker.process import work
from asgd.worker.shared import TorchWork
from asgd.worker.task.build import build_task
from asgd.world.models import World

SECONDS_MOST = 60.0


@dataclass(frozen=True)
class Ending:
    """What a job came to, by shard: each push's staleness, refusals by reason, versions; and its weights."""

    staleness: list[Counter[int]]
    refused: list[Counter[str]]
    versions: list[int]
    weights: bytes

    @staticmethod
    def of(shards: list[Shard]) -> Ending:
        return Ending(
            staleness=[Counter(shard.histogram) for shard in shards],
            refused=[Counter(shard.refused) for shard in shards],
            versions=[shard.state.version for shard in shards],
            weights=b"".join(shard.state.weights.tobytes() for shard in shards),
        )


# -- real time ---------------------------------------------------------------------------------------


def run(job: Job, folder: Path) -> tuple[Ending, Recording]:
    """The job with its servers and workers in threads of this process, over real sockets, recorded."""
    count, place = job.spec.parameter_server.shards, folder / "replay"
    servers = tuple(f"ipc://{folder}/{shard}" for shard in range(count))
    services = [open_service(_config(job, shard, servers, place, servers[shard])) for shard in range(count)]
    over = threading.Event()
    serving = [threading.Thread(target=_serve, args=(service, over)) for service in services]
    # NB: a task is built under the process's own random numbers, so by one thread after the other.
    tasks = [build_task(job.spec) for _ in range(job.spec.workers.replicas)]
    together = threading.Barrier(len(tasks), timeout=SECONDS_MOST)
    for task in tasks:
        task.data = Together(task.data, together)
    codes: dict[int, int] = {}
    working = [
        threading.Thread(target=_work, args=(_config(job, index, servers, place), task, codes))
        for index, task in enumerate(tasks)
    ]
    for thread in (*serving, *working):
        thread.start()
    for thread in working:
        thread.join(SECONDS_MOST)
    over.set()
    for thread in serving:
        thread.join(SECONDS_MOST)
    assert set(codes) == set(range(len(tasks))) and set(codes.values()) == {0}, (
        f"a worker has failed: {codes}"
    )
    ending = Ending.of([service.core.shard for service in services])
    shards, workers = read_logs(place, sorted(path.name for path in place.glob("*.log")), count)
    record = RunRecord(job_folder=str(folder), threads="1", packages={})
    return ending, Recording(job, record, shards, workers)


class Together(Dataset[Any]):
    """A dataset that gives its first sample when all workers have come to ask for theirs: nobody is late."""

    def __init__(self, data: Any, all_there: threading.Barrier) -> None:
        self._data, self._all_there, self._waited = data, all_there, False

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        return self._data[index]

    def __getitems__(self, indices: list[int]) -> Any:
        if not self._waited:
            self._waited = True
            self._all_there.wait()
        return self._data.__getitems__(indices)


def _config(job: Job, index: int, servers: tuple[str, ...], record: Path, bind: str = "") -> ProcessConfig:
    return ProcessConfig(
        job=job, index=index, servers=servers, bind=bind, keys=None, metrics="", checkpoint="", announce=None,
        live=None, run="", node="", join_timeout_seconds=SECONDS_MOST, incarnation=time.time_ns(), record=record,
    )  # fmt: skip


def _serve(service: Service, over: threading.Event) -> None:
    while not over.is_set():
        service.step()
    service.close()


def _work(config: ProcessConfig, task: Any, codes: dict[int, int]) -> None:
    codes[config.index] = work(config, task, [])


# -- virtual time ------------------------------------------------------------------------------------


class RecordedOrder(Network):
    """Delivers to a server what comes next in its log, and holds back what does not; workers get the ranges of theirs.

    NB: what shard 0 would grant depends on whether a push that gives ranges back was there before, which no log tells.
    """

    def __init__(self, clock: Clock, recording: Recording) -> None:
        super().__init__(clock, World())
        self._clock = clock
        self._logs = [deque(starts[0][1]) for starts in recording.shards]
        self._leases = {person[0]: deque(tape.leases) for person, tape in recording.workers.items()}
        self._joined: set[tuple[int, int]] = set()
        self._held: list[tuple[int, Message, Action]] = []
        self.closed: Callable[[int, bool], int] = lambda server, measured: 0
        """The number of the newest order for a round (or a measurement) that a server has carried out."""

    def __repr__(self) -> str:
        held = [(server, message) for server, message, _ in self._held]
        return f"next in the logs {[list(log)[:3] for log in self._logs]}, held back {held}"

    @property
    def done(self) -> bool:
        """All that the logs name has happened."""
        return not any(self._next(server) for server in range(len(self._logs)))

    def send(self, source: Any, target: Any, message: Message, payload_bytes: int, deliver: Action) -> None:
        ordered = isinstance(message, Hello | Init | Exchange | Pull | Bye) and source[0] == "worker"
        if ordered or isinstance(message, Gathered | Decided):
            self._held.append((target[1], message, deliver))
            self._clock.after(0.0, self._look)
            return
        if isinstance(message, Granted) and self._leases[target[1]]:
            lease = self._leases[target[1]].popleft()
            message.epoch, message.start, message.stop = lease.epoch, lease.start, lease.stop
            message.wait, message.over = lease.wait, lease.over
        super().send(source, target, message, payload_bytes, deliver)

    def _look(self) -> None:
        for held in list(self._held):
            server, message, deliver = held
            if self._turn(server, message):
                self._held.remove(held)
                deliver()
                self._clock.after(0.0, self._look)
                return

    def _turn(self, server: int, message: Message) -> bool:
        if isinstance(message, Hello) and (server, message.index) in self._joined:
            return True
        record = self._next(server)
        if isinstance(message, Pull) and isinstance(record, Left) and record.worker == message.index:
            # NB: in the run the job had stopped before this was asked: that is the answer, and in no log.
            return True
        if record is None or not _names(record, message):
            return False
        if isinstance(record, Closed):
            return True
        log = self._logs[server]
        log.popleft()
        if isinstance(message, Hello):
            self._joined.add((server, message.index))
        if isinstance(message, Exchange) and message.pull:
            told = log.popleft()
            assert isinstance(told, Told)
        return True

    def _next(self, server: int) -> AnyRecord | None:
        """What the server does next of what its workers bring about."""
        log = self._logs[server]
        while log:
            record = log[0]
            again = isinstance(record, Joined) and (server, record.index) in self._joined
            if isinstance(record, Joined | Brought | Pushed | Told | Left) and not again:
                return record
            if isinstance(record, Closed) and self.closed(server, record.measure) < record.number:
                return record
            log.popleft()
        return None


def _names(record: AnyRecord, message: Message) -> bool:
    match record, message:
        case Joined(), Hello():
            return record.index == message.index
        case Brought(), Init():
            return (record.worker, record.chunk) == (message.index, message.chunk)
        case Pushed(), Exchange():
            return (record.worker, record.sequence, record.chunk) == (
                message.index,
                message.sequence,
                message.chunk,
            )
        case Told(), Pull():
            return (record.worker, record.chunk, record.part) == (message.index, message.chunk, message.part)
        case Left(), Bye():
            return record.worker == message.index
        case Closed(), Gathered() | Decided():
            return True
    return False


def simulate(job: Job, recording: Recording) -> Ending:
    """The job in virtual time, in the recorded order."""
    clock = Clock()
    network = RecordedOrder(clock, recording)
    simulation = Simulation(job, TorchWork(job.spec), World(), clock=clock, network=network)
    network.closed = lambda server, measured: _closed(simulation.cluster.servers[server].core, measured)
    while not network.done:
        assert simulation.advance() and clock.now < 60, f"the simulator does not go the run's way: {network}"
    return Ending.of([server.shard for server in simulation.cluster.servers])


def _closed(core: ServerCore | None, measured: bool) -> int:
    assert core is not None and core.rounds is not None
    report = core.rounds.part.report()
    return report.measured if measured else report.decided


# -- a replay ----------------------------------------------------------------------------------------


def replay(recording: Recording) -> Ending:
    """The recorded job again."""
    stage = Stage(recording)
    stage.run()
    return Ending.of([server.shard for server in stage.servers])


def largest_difference(one: Ending, other: Ending) -> float:
    """Between two endings' weights."""
    first, second = (np.frombuffer(ending.weights, np.float32) for ending in (one, other))
    found: F32 = np.abs(first - second)
    return float(found.max())
