"""A fixed piece of the update path, to count what an update costs: calls, temporary memory, instructions.

One worker's `Channel` and one `Shard` exchange whole updates in one process, through encoded headers, without a socket.
`tests/unit/server/test_update_path_cost.py` holds calls and memory to its budgets; instructions need valgrind:

    .venv/bin/python tools/update_path.py [PUSH/PULL ...]      # instructions an update and an element

Instructions are those of 4 updates less those of 2, so that starting Python and joining do not count.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from typing import Any

import msgspec
import numpy as np

from asgd.algorithms.asgd import AsgdServer
from asgd.server.shard import Shard
from asgd.spec.types import JobSpec
from asgd.wire.lanes import WINDOW
from asgd.wire.messages import AnyMessage, Done, Exchange, Hello, Init, Message, Pull, Reply, decode, encode
from asgd.wire.partition import CHUNK, Range
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import PeerIdentity, PushHeader

SIZE = 3 * CHUNK + 1000


class Loopback:
    """A lane that ends in a shard of this process; answers wait until `pump`, in memory of their own as a socket's."""

    name = "loopback"
    window = announced = WINDOW

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.answers: deque[tuple[bytes, bytes | None]] = deque()

    def send(self, message: Message, payload: Any = None) -> None:
        asked = decode(encode(message))
        answer, body = self.serve(asked, None if payload is None else memoryview(payload).cast("B"))
        self.answers.append((encode(answer), body))

    def serve(self, message: AnyMessage, payload: Any) -> tuple[Message, bytes | None]:
        shard = self.shard
        match message:
            case Hello():
                return shard.hello(message), None
            case Init():
                return shard.init(message, payload) or Done(), None
            case Exchange() | Pull():
                answer = (
                    shard.exchange(message, payload) if isinstance(message, Exchange) else shard.pull(message)
                )
                assert isinstance(answer, Reply), answer
                return answer, bytes(shard.payload(answer, message, message.index))
        raise AssertionError(message)

    def polls(self) -> list[tuple[Any, int]]:
        return []

    def waits(self, now: float) -> bool:
        return False

    def receive(self) -> tuple[AnyMessage, Any] | None:
        if not self.answers:
            return None
        header, body = self.answers.popleft()
        return decode(header), body

    def close(self) -> None:
        self.answers.clear()


class Workload:
    """A worker that has joined; each `update` pushes the same gradient and pulls the weights."""

    def __init__(self, push: str, pull: str, size: int = SIZE) -> None:
        spec = msgspec.convert({"entrypoint": "x:y", "codec": {"push": push, "pull": pull}}, JobSpec)
        self.lane = Loopback(Shard(spec, AsgdServer(spec), 0, 1, 1))
        who = PeerIdentity(job="job", role="worker", index=0, incarnation=1, size=size, layout="layout")
        self.channel = Channel(self.lane, who, spec.codec, shard=0, part=Range(0, size), split=False)
        self.gradient = np.random.default_rng(0).standard_normal(size).astype(np.float32)
        self.pulled = np.zeros(size, np.float32)
        self.sequence = 0
        self.channel.bring = lambda: np.zeros(size, np.float32)
        self.channel.hello(0.0)
        self._pump()
        self.update()

    def update(self) -> None:
        """One push and pull of the whole vector."""
        self.sequence += 1
        self.channel.start(
            self.gradient,
            PushHeader(sequence=self.sequence, samples=32, steps=1, loss=0.5),
            self.pulled,
            0.0,
        )
        self._pump()
        assert not self.channel.busy and self.channel.verdict == "applied"

    def _pump(self) -> None:
        while arrived := self.lane.receive():
            self.channel.handle(*arrived, 0.0)


def instructions(pair: str, updates: int) -> int:
    """Instructions of a process that makes so many updates, as callgrind counts them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", sys.executable, __file__,
            "--updates", str(updates), pair,
        ]  # fmt: skip
        quiet = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr
    return int(found.group(1))


def main() -> None:
    if sys.argv[1:2] == ["--updates"]:
        workload = Workload(*sys.argv[3].split("/"))
        for _ in range(int(sys.argv[2])):
            workload.update()
        return
    print("| push / pull | million instructions an update | an element |\n|---|---|---|")
    for pair in sys.argv[1:] or ["fp32/fp32", "bf16/bf16", "int8/int8", "topk/topk", "onebit/onebit"]:
        each = (instructions(pair, 4) - instructions(pair, 2)) / 2
        print(f"| {pair} | {each / 1e6:.2f} | {each / SIZE:.2f} |", flush=True)


if __name__ == "__main__":
    main()
