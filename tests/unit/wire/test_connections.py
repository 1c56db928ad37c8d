"""What connections hold before anybody knows who speaks: bounded for all strangers together; nobody else is cut off."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from asgd.wire import control
from asgd.wire.connections import Link, surplus
from asgd.wire.limits import FRAME_MOST, HELD_MOST, QUEUED_MOST, STRANGERS_MOST
from tests.local.strangers import GREETING, Crowd


def link(number: int, taken: int = 0, delivered: int = 0, heard: bool = False) -> Link:
    return Link(number, number, float(number), taken, delivered, heard)


def test_as_many_strangers_as_there_may_be_are_let_in_and_the_oldest_make_room_for_more() -> None:
    links = [link(number) for number in range(STRANGERS_MOST + 3)]
    assert surplus(links[:STRANGERS_MOST]) == []
    assert {each.descriptor for each in surplus(links)} == {0, 1, 2}


def test_strangers_that_hold_most_go_until_the_rest_is_within_the_bound() -> None:
    small, large = (
        [link(number, 1000) for number in range(100)],
        [link(200 + n, HELD_MOST // 4) for n in range(6)],
    )
    ended = surplus([*large, *small])
    assert len(ended) == 3 and all(each in large for each in ended)


def test_who_was_heard_counts_by_what_was_not_delivered() -> None:
    steady, hoarder = link(1, 1 << 50, 1 << 50, heard=True), link(2, HELD_MOST + 1, 0, heard=True)
    known = [link(10 + number, heard=True) for number in range(2 * STRANGERS_MOST)]
    assert surplus([steady, hoarder, *known]) == [hoarder]


def test_no_frame_that_a_member_may_send_is_too_much_by_itself() -> None:
    assert surplus([link(1, 2 * FRAME_MOST)]) == []
    assert surplus([link(1, 2 * FRAME_MOST, 0, heard=True)]) == []


class Served:
    """A shard's socket that answers what it was sent, and whom it is served to."""

    def __init__(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.keys = control.Keys.make()
        self.guard = control.guard(self.context, self.keys)
        self.router = control.router(self.context, "tcp://127.0.0.1:*", self.keys)
        self.endpoint = self.router.last_endpoint.decode()
        self.port = int(self.endpoint.rpartition(":")[2])
        self.taken: list[tuple[bytes, int]] = []

    def peer(self) -> zmq.Socket[bytes]:
        return control.dealer(self.context, self.endpoint, self.keys)

    def serve(self) -> None:
        while received := self.router.receive():
            sender, header, payload = received
            self.taken.append((bytes(header), 0 if payload is None else memoryview(payload).nbytes))
            self.router.answer(sender, bytes(header[:16]))

    def until(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, "it never came"
            self.router.poll(5)
            self.serve()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.router.close()
    made.guard.close()
    made.context.destroy(0)


def test_a_header_and_a_payload_of_the_largest_size_go_through(served: Served) -> None:
    peer = served.peer()
    largest = FRAME_MOST - (1 << 12)
    for frames, told in [([b"head"], (b"head", 0)), ([b"head", b"x" * largest], (b"head", largest))]:
        peer.send_multipart(frames)
        served.until(lambda told=told: told in served.taken)
    for frames in ([b"a", b"b", b"c"], [b"a", b"b"] + [b""] * 50_000):
        served.taken.clear()
        peer.send_multipart(frames)
        served.until(lambda: served.taken)
        assert served.taken == [(b"", 0)], "a message of more frames is no message"


def test_a_member_that_never_ends_its_message_is_hung_up_on_and_may_come_again(served: Served) -> None:
    peer, other = served.peer(), served.peer()
    peer.send(b"here")
    served.until(lambda: served.taken)
    monitor = peer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    part = bytes(FRAME_MOST // 4)
    for _ in range(HELD_MOST // len(part) + 8):
        peer.send(part, zmq.SNDMORE)
    peer.send(b"")
    served.until(lambda: monitor.poll(0))
    other.send(b"still here")
    served.until(lambda: (b"still here", 0) in served.taken)
    peer.disable_monitor()
    monitor.close(0)


def test_no_answer_is_lost_while_one_question_follows_the_other(served: Served) -> None:
    """A short queue must not be taken for full when the peer has taken everything."""
    for _ in range(10):
        peer = served.peer()
        for number in range(8 * QUEUED_MOST):
            peer.send(bytes(1 << 20) if number == 5 else b"%d" % number)
            served.until(lambda peer=peer: peer.poll(0))
            peer.recv()
        peer.close(0)


def test_who_does_not_take_its_answers_loses_them_and_holds_nobody_up(served: Served) -> None:
    greedy, other = served.peer(), served.peer()
    greedy.rcvhwm = 1
    for _ in range(40 * QUEUED_MOST):
        greedy.send(b"more")
    served.until(lambda: len(served.taken) >= 40 * QUEUED_MOST)
    other.send(b"me too")
    served.until(lambda: other.poll(0))


def test_strangers_that_hold_too_much_are_hung_up_on_while_a_member_is_served(served: Served) -> None:
    peer = served.peer()
    with Crowd() as crowd:
        for _ in range(12):
            crowd.announce(served.port, FRAME_MOST - 1, FRAME_MOST - (1 << 20), 10)
        peer.send(b"here")
        served.until(lambda: served.taken)
        served.until(lambda: sum(map(hung_up, crowd.open)) >= 12 - HELD_MOST // (FRAME_MOST - (1 << 21)))


def hung_up(stream: socket.socket) -> bool:
    """Whether the other end has closed the connection."""
    stream.setblocking(False)
    try:
        while part := stream.recv(1 << 16):
            assert part[:1] == GREETING[:1]
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_a_frame_beyond_the_largest_ends_its_connection_at_once(served: Served) -> None:
    with Crowd() as crowd:
        crowd.idle(served.port, 1, GREETING + b"\x06" + struct.pack(">Q", FRAME_MOST + 1))
        served.until(lambda: hung_up(crowd.open[0]))
