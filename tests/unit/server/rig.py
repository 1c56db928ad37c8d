"""A real server and a real worker's channel over real sockets, in one thread: both go on step by step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import zmq

from asgd.host.env import ProcessConfig, read_config
from asgd.server.bulk import Connection, Peer, Session
from asgd.server.process import open_service
from asgd.wire import control
from asgd.wire.lanes import shm
from asgd.wire.lanes.bulk import BulkLane
from asgd.wire.partition import Range
from asgd.worker.sending.centre import OFFERS
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import PeerIdentity, PushHeader

RATE = 0.5
LANES = ["zmq", "tcp", "sealed", "unix", "shm", "sealed-shm"]
"""ZeroMQ alone; TCP in the clear, sealed; a unix socket beside ipc; shared memory, announced by a unix socket or by
a sealed TCP connection."""


class Rig:
    """A server of one shard that is reached by one of `LANES`."""

    def __init__(self, folder: Path, way: str, size: int, more: dict[str, Any] | None = None) -> None:
        self.way, self.size = way, size
        self.config = self._config(folder, more or {})
        self.service = open_service(self.config)
        self.endpoint = self.service.ports.router.last_endpoint.decode()
        self.context: zmq.Context[Any] = zmq.Context()
        self.channels: list[Channel] = []

    def _config(self, folder: Path, more: dict[str, Any]) -> ProcessConfig:
        spec = {
            "entrypoint": "nobody:asks",
            "optimizer": {"learningRate": RATE},
            "stopAfter": {"updates": 1000},
            "network": {"encryption": "Sealed" if self.way.startswith("sealed") else "None"},
            "exchange": {"lane": self.lane},
            **more,
        }
        (folder / "job.json").write_text(json.dumps({"metadata": {"name": "job"}, "spec": spec}))
        (folder / "keys.json").write_bytes(msgspec.json.encode(control.Keys.make()))
        bind = f"ipc://{folder}/s" if self.way in ("unix", "shm") else "tcp://127.0.0.1:*"
        env = {"ASGD_JOB": folder / "job.json", "ASGD_KEYS": folder / "keys.json", "ASGD_INDEX": 0}
        told = {name: str(value) for name, value in env.items()}
        return read_config(told | {"ASGD_SERVERS": bind, "ASGD_BIND": bind, "ASGD_BULK": self._bulk})

    @property
    def lane(self) -> str:
        return {"zmq": "zmq", "shm": "shm", "sealed-shm": "shm"}.get(self.way, "tcp")

    @property
    def _bulk(self) -> str:
        return "" if self.way in ("unix", "shm") else "tcp://127.0.0.1:0"

    def worker(self, index: int = 0, incarnation: int = 1) -> Channel:
        """A worker that has said hello; it brings ones if it is asked to."""
        segment = shm.make(self.size) if self.lane == "shm" else None
        lane = BulkLane(self.context, self.endpoint, self.config.keys, OFFERS[self.lane], segment)
        identity = PeerIdentity(
            job="job", role="worker", index=index, incarnation=incarnation, size=self.size, layout="layout"
        )
        codec, part = self.config.job.spec.codec, Range(0, self.size)
        channel = Channel(lane, identity, codec, 0, part, False, joins_chunks=True)
        lane.place = channel.place
        channel.bring = lambda: np.ones(self.size, np.float32)
        channel.hello(time.monotonic())
        self.channels.append(channel)
        return channel

    def joined(self, index: int = 0, incarnation: int = 1) -> Channel:
        """A worker that is on its lane."""
        channel = self.worker(index, incarnation)
        self.until(lambda: channel.joined)
        assert channel.lane.name == self.lane
        if self.lane != "zmq":
            self.until(lambda: self._sessions["worker", index].connection is not None)
        return channel

    def step(self, later: float = 0.0) -> None:
        """The server does what there is to do, then each channel, on a clock that is `later` seconds ahead."""
        self.service._due = 0.0
        self.service.step()
        self.listen(later)

    def listen(self, later: float = 0.0) -> None:
        """Each channel takes in what has arrived."""
        now = time.monotonic() + later
        for channel in self.channels:
            while arrived := channel.lane.receive():
                channel.handle(*arrived, now)
            channel.tick(now)
            channel.lane.polls()

    def until(self, holds: Callable[[], bool], trouble: Callable[[], None] = lambda: None) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, "it never came to an end"
            trouble()
            self.step()

    def exchange(self, channel: Channel, sequence: int, vector: Any, into: Any, **more: Any) -> None:
        """Begins a push and pull."""
        channel.start(
            vector,
            PushHeader(sequence=sequence, samples=8, steps=1, loss=0.5),
            into,
            time.monotonic(),
        )

    def connection(self, index: int = 0) -> Connection:
        """The server's end of a worker's bulk connection."""
        connection = self._sessions["worker", index].connection
        assert connection is not None
        return connection

    @property
    def _sessions(self) -> dict[Peer, Session]:
        assert self.service.bulk is not None
        return self.service.bulk._sessions

    def __enter__(self) -> Rig:
        return self

    def memory(self, channel: Channel) -> Any:
        """Where a worker pulls into: the shared memory on that lane."""
        lane = channel.lane
        assert isinstance(lane, BulkLane)
        return np.zeros(self.size, np.float32) if lane._segment is None else lane._segment.pull

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self.channels:
            channel.lane.close()
            if isinstance(channel.lane, BulkLane) and channel.lane._segment:
                channel.lane._segment.remove()
        self.context.destroy(linger=0)
        self.service.close()
