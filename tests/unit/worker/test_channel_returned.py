"""A shard that can be reached again hears of what was under way at once, not after the silence of a second."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zmq

from asgd.errors import TryAgain
from asgd.wire.ask import Asker
from asgd.wire.lanes.zeromq import ZmqLane
from asgd.wire.messages import Command, Exchange, Hello
from asgd.worker.sending.channel import RETRY_SECONDS
from asgd.worker.sending.headers import PushHeader
from tests.unit.worker.test_channel_parts import SIZE, Lane, Talk


class Returning(Lane):
    """Its shard is back whenever `back` says so."""

    back = False

    def returned(self) -> bool:
        back, self.back = self.back, False
        return back


@pytest.fixture
def talk() -> Talk:
    made = Talk()
    made.lane = made.channel.lane = Returning()  # type: ignore[assignment]
    made.welcome(1)
    made.lane.sent.clear()
    return made


def kinds(talk: Talk) -> list[type]:
    return [type(message) for message, _ in talk.lane.sent]


def test_a_push_under_way_starts_over_as_soon_as_the_shard_is_back(talk: Talk) -> None:
    talk.channel.start(
        np.ones(SIZE, np.float32),
        PushHeader(sequence=1, samples=8, steps=1),
        talk.pulled,
        0.0,
    )
    talk.channel.tick(RETRY_SECONDS / 2)
    assert kinds(talk) == [Exchange], "it is too early to lose patience"
    talk.lane.back = True  # type: ignore[attr-defined]
    talk.channel.tick(RETRY_SECONDS / 2)
    assert kinds(talk) == [Exchange, Hello]
    talk.welcome(2)
    assert kinds(talk)[-1] is Exchange


def test_a_worker_that_awaits_nothing_says_hello_to_a_shard_that_is_back_and_else_nothing(talk: Talk) -> None:
    talk.channel.tick(100.0)
    assert kinds(talk) == []
    talk.lane.back = True  # type: ignore[attr-defined]
    talk.channel.tick(100.0)
    assert kinds(talk) == [Hello]


def test_a_lane_tells_of_each_connection_but_the_first(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    place = f"ipc://{tmp_path}/server"
    lane = ZmqLane(context, place, None)
    for start in range(3):
        router = context.socket(zmq.ROUTER)
        router.bind(place)
        assert lane.monitor.poll(30_000)
        assert lane.returned() == (start > 0)
        assert not lane.returned(), "it tells once"
        router.close(0)
    lane.close()
    context.destroy(0)


def test_a_question_is_given_up_as_soon_as_a_descriptor_can_be_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    asker = Asker(f"ipc://{tmp_path}/nobody", None)
    with pytest.raises(TryAgain, match="was not waited for"):
        asker.ask(Command("status"), 3600.0, [reader])
    asker.close()
    os.close(reader)
    os.close(writer)
