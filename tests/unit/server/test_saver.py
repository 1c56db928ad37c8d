"""A checkpoint holds what the shard held when its copy was made; pushes go on while it is written."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from asgd.server.saves.saver import Saver
from asgd.server.saves.store import Store
from asgd.server.saving import Outcome, Saving, StoreFacts
from asgd.server.traffic import Traffic
from asgd.wire.partition import Range
from asgd.wire.reports import Part
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


def outcome_of(saver: Saver) -> Outcome:
    deadline = time.monotonic() + 20
    while not (outcome := saver.outcome()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return outcome


def test_what_is_pushed_after_the_copy_is_not_in_the_part(tmp_path: Path) -> None:
    store = Slow(str(tmp_path / "store"))
    shard = ready_shard(SIZE, asgd_spec(0.5, optimizer={"momentum": 0.9}))
    saver, saving = Saver(store), Saving(shard, Traffic(), StoreFacts(store.uri))
    for number in (1, 2):
        push(shard, 0, 2 * number - 1, np.full(SIZE, number, np.float32))
        saving.order(number, shard.state.version, 0.0)
        wish = saving.wish(0.0, lambda now: None)
        assert wish is not None and saving.wish(0.0, lambda now: None) is None
        held = {name: array.copy() for name, array in shard.arrays().items()}
        store.gate.clear()
        saver.begin(wish)
        push(shard, 0, 2 * number, np.full(SIZE, 100, np.float32))
        store.gate.set()
        saving.done(outcome_of(saver), 1.0)
        written = store.parts[-1]
        assert saving.number == number
        assert saving.part is not None and saving.part.version == 2 * number - 1
        assert written.keys() == held.keys() == {"weights", "momentum"}
        assert all(np.array_equal(written[name], held[name]) for name in held)
        assert not np.array_equal(written["weights"], shard.state.weights)
    saver.close(20)
    assert Range(saving.part.start, saving.part.stop) == Range(0, SIZE)
