"""A checkpoint holds what the shard held when its copy was made; pushes go on while it is written."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from asgd.server.metrics import Traffic
from asgd.server.saves.saver import Saver
from asgd.server.saves.store import Part, Store
from asgd.wire.partition import Range
from tests.checks.harness import asgd_spec
from tests.unit.server.peers import push, ready_shard

SIZE = 17


class Slow(Store):
    """A store that takes a part only when it may; `gate` lets it."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.gate = threading.Event()
        self.parts: list[dict[str, Any]] = []

    def write_part(self, number: int, shard: int, shards: int, arrays: Any, meta: Any) -> Part:
        assert self.gate.wait(20)
        self.parts.append({name: array.copy() for name, array in arrays.items()})
        return super().write_part(number, shard, shards, arrays, meta)


def until(saver: Saver) -> None:
    deadline = time.monotonic() + 20
    while not saver.poll():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_is_pushed_after_the_copy_is_not_in_the_part(tmp_path: Path) -> None:
    store = Slow(str(tmp_path / "store"))
    shard = ready_shard(SIZE, asgd_spec(0.5, optimizer={"momentum": 0.9}))
    saver = Saver(store, shard, Traffic())
    for round_ in (1, 2):
        push(shard, 0, 2 * round_ - 1, np.full(SIZE, round_, np.float32))
        saver.order(round_, shard.state.version, time.monotonic())
        assert saver.due(time.monotonic())
        held = {name: array.copy() for name, array in shard.arrays().items()}
        store.gate.clear()
        saver.start(None)
        push(shard, 0, 2 * round_, np.full(SIZE, 100, np.float32))
        store.gate.set()
        until(saver)
        written = store.parts[-1]
        assert saver.result is not None and saver.result.version == 2 * round_ - 1
        assert written.keys() == held.keys() == {"weights", "momentum"}
        assert all(np.array_equal(written[name], held[name]) for name in held)
        assert not np.array_equal(written["weights"], shard.state.weights)
    saver.close()
    assert Range(saver.result.start, saver.result.stop) == Range(0, SIZE)
