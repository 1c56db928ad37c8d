"""A fault of this program in serving one message costs that message: the loop, and everybody else, goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.asgd import AsgdServer
from asgd.algorithms.base import Push, ShardState
from asgd.errors import TryAgain
from asgd.server import metrics
from asgd.server.core import ServerCore
from asgd.worker.sending.headers import PushHeader
from tests.unit.server.rig import Rig

SIZE = 5
POISON = 13
"""Samples of a push that the strategy cannot bear."""


def vector() -> Any:
    return np.ones(SIZE, np.float32)


@pytest.mark.parametrize(
    "kind", [ValueError, TypeError, KeyError, OverflowError, MemoryError, RecursionError]
)
def test_an_exception_for_one_message_is_answered_told_once_and_counted(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = AsgdServer.admit

    def admit(self: AsgdServer, push: Push, state: ShardState) -> str:
        if push.samples == POISON:
            raise kind("a surprise")
        return whole(self, push, state)

    monkeypatch.setattr(AsgdServer, "admit", admit)
    with Rig(tmp_path, "zmq", SIZE) as rig:
        healthy, other = rig.joined(0), rig.joined(1)
        for sequence in (1, 2):
            other.start(
                vector(),
                PushHeader(sequence=sequence, samples=POISON, steps=1, loss=0.5),
                None,
                0.0,
            )
            with pytest.raises(TryAgain, match="could not serve Exchange"):
                rig.until(lambda: not other.busy)
        rig.channels.remove(other)
        rig.exchange(healthy, 1, vector(), rig.memory(healthy))
        rig.until(lambda: not healthy.busy)
        assert healthy.verdict == "applied"
        core = rig.service.core
        assert core.shard.state.version == 1
        assert counted(core).keys() == {("worker 1", "bug")}
        assert counted(core)["worker 1", "bug"] >= 2  # an attempt may have been made again
        rig.channels.append(other)
    said = capsys.readouterr().out
    assert said.count("Traceback") == 1 and "a surprise" in said


def counted(core: ServerCore) -> dict[tuple[str, str], float]:
    """As Prometheus scrapes it."""
    families = metrics.collect(core.shard, core.traffic, len(core.parked))
    refused = next(family for family in families if family.name == "asgd_server_messages_refused")
    return {(s.labels["peer"], s.labels["reason"]): s.value for s in refused.samples}


def test_a_tick_that_fails_is_tried_again_and_pushes_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Rig(tmp_path, "tcp", SIZE) as rig:
        worker, core = rig.joined(), rig.service.core
        whole, fails = core.tick, [True]

        def tick(now: float) -> Any:
            if fails:
                raise ValueError("a surprise")
            return whole(now)

        monkeypatch.setattr(core, "tick", tick)
        for sequence in (1, 2):
            rig.exchange(worker, sequence, vector(), rig.memory(worker))
            rig.until(lambda: not worker.busy)
        fails.clear()
        rig.step()
        assert core.primary is not None and core.primary.coordinator.phase == "running"
    assert capsys.readouterr().out.count("Traceback") == 1
