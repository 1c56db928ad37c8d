"""Frames over a real socket pair: whole, in order, into the memory that was named, whatever the pieces they come in."""

from __future__ import annotations

import fcntl
import os
import random
import select
import socket
import struct
import termios
import time
from collections.abc import Iterator

import numpy as np
import pytest

from asgd.wire.messages import AnyMessage, Exchange, Message, Reply, encode
from asgd.wire.partition import CHUNK
from asgd.wire.seal import Seal, session_keys
from asgd.wire.stream import HEADER_MOST, PAYLOAD_MOST, Closed, Stream

Frame = tuple[AnyMessage, memoryview | None]


def no_place(message: AnyMessage, size: int) -> memoryview | None:
    return None


def keys(sealed: bool) -> tuple[Seal | None, Seal | None]:
    if not sealed:
        return None, None
    up, down = session_keys(b"a" * 32, b"b" * 32, "test")
    return Seal(up, down), Seal(down, up)


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Stream, Stream]]:
    one, two = socket.socketpair()
    mine, theirs = keys(request.param)
    ends = Stream(one, mine, copy=False), Stream(two, theirs, copy=True)
    yield ends
    for end in ends:
        end.close()


def until_frame(sender: Stream, receiver: Stream) -> Frame:
    for _ in range(100_000):
        sender.flush()
        if frame := receiver.receive(no_place):
            return frame
    raise AssertionError("it never came")


def push(chunk: int, **fields: object) -> Exchange:
    return Exchange(0, 1, 1, chunk, 0, 8, 1, True, True, **fields)  # type: ignore[arg-type]


def test_frames_of_all_sizes_arrive_whole_and_in_order(pair: tuple[Stream, Stream]) -> None:
    one, two = pair
    sizes = [0, 1, 4, 1000, 32_767, 32_768, 40_000, 4 * CHUNK, 3, 8 * CHUNK, 0, 17]
    bodies = [os.urandom(size) for size in sizes]
    for chunk, body in enumerate(bodies):
        one.send(encode(push(chunk)), body if body else None)
    for chunk, body in enumerate(bodies):
        message, payload = until_frame(one, two)
        assert message == push(chunk)
        assert bytes(payload or b"") == body
    assert one.queued == 0 and two.receive(no_place) is None


def test_a_payload_is_received_where_it_belongs(pair: tuple[Stream, Stream]) -> None:
    one, two = pair
    wanted = np.zeros(4 * CHUNK, np.uint8)
    body = np.frombuffer(os.urandom(4 * CHUNK), np.uint8)
    one.send(encode(push(0)), body)
    frame = None
    while frame is None:
        one.flush()
        frame = two.receive(lambda message, size: wanted.data if size == wanted.nbytes else None)
    assert frame[1] is not None and frame[1].obj is wanted.data.obj
    assert np.array_equal(wanted, body)


def test_a_header_longer_than_any_buffer_is_read(pair: tuple[Stream, Stream]) -> None:
    one, two = pair
    long = push(0, visits=[(epoch, 0, 1 << 40) for epoch in range(20_000)])
    one.send(encode(long), b"1234")
    message, payload = until_frame(one, two)
    assert message == long and bytes(payload or b"") == b"1234"


def test_what_waits_is_a_copy_where_memory_may_change(pair: tuple[Stream, Stream]) -> None:
    """The server's side: weights move on while a slow worker's reply is still in the queue."""
    worker, server = pair
    weights = np.full(CHUNK, 1, np.float32)
    for chunk in range(8):
        server.send(encode(Reply(1, 1, chunk, 1, "applied", codec="fp32")), weights)
    assert server.queued > 0
    weights[:] = 2
    for chunk in range(8):
        message, payload = until_frame(server, worker)
        assert isinstance(message, Reply) and message.chunk == chunk
        assert payload is not None
        assert (np.frombuffer(payload, np.float32) == 1).all()


def test_the_end_of_the_other_end_is_told(pair: tuple[Stream, Stream]) -> None:
    one, two = pair
    one.send(encode(push(0)), b"last")
    one.close()
    assert until_frame(two, two)[0] == push(0)
    with pytest.raises(Closed):
        for _ in range(2):  # the look right after a short read is spared
            two.receive(no_place)
    with pytest.raises(Closed):
        for _ in range(3):
            two.send(encode(push(0)), os.urandom(1 << 20))
            two.flush()


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack("<II", HEADER_MOST + 1, 0) + bytes(64),
        struct.pack("<II", 4, PAYLOAD_MOST + 1) + bytes(64),
        struct.pack("<II", 4, 0) + bytes(64),
        struct.pack("<II", 0, 0) + bytes(64),
        *(random.Random(seed).randbytes(5000) for seed in range(20)),
    ],
)
def test_garbage_ends_the_stream(garbage: bytes, sealed: bool) -> None:
    one, two = socket.socketpair()
    stream = Stream(two, keys(sealed)[1], copy=True)
    one.sendall(garbage)
    one.close()
    with pytest.raises(Closed):
        while stream.receive(no_place) is None:
            pass
    stream.close()


def recorded(messages: list[Message]) -> bytes:
    """The bytes that a sealed worker puts on the wire."""
    one, two = socket.socketpair()
    stream = Stream(one, keys(True)[0], copy=False)
    for message in messages:
        stream.send(encode(message), b"payload!")
    stream.close()
    with two:
        return two.makefile("rb").read()


@pytest.mark.parametrize("what", ["replayed", "second first", "one bit"])
def test_sealed_frames_that_were_recorded_are_of_no_use(what: str) -> None:
    both, first = recorded([push(0), push(1)]), recorded([push(0)])
    second = both[len(first) :]
    damaged = bytearray(first)
    damaged[-20] ^= 1
    sent = {"replayed": first + first, "second first": second + first, "one bit": bytes(damaged)}[what]
    one, two = socket.socketpair()
    one.sendall(sent)
    stream = Stream(two, keys(True)[1], copy=True)
    served = 0
    with one, pytest.raises(Closed, match="forged"):
        while stream.receive(no_place):
            served += 1
    assert served == (1 if what == "replayed" else 0)
    stream.close()


def test_a_poller_is_woken_for_a_good_part_of_a_large_payload_for_its_end_and_for_what_is_small() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        raw = socket.create_connection(listener.getsockname())
        receiver = Stream(listener.accept()[0], None, copy=True)

    def is_woken(seconds: float) -> bool:
        return bool(select.select([receiver.socket], [], [], seconds)[0])

    def send(data: bytes) -> None:
        raw.sendall(data)
        # NB: acknowledged by the receiver's kernel, so that it lies there.
        while struct.unpack("i", fcntl.ioctl(raw, termios.TIOCOUTQ, b"\0" * 4))[0]:
            time.sleep(0.001)

    header, body = encode(push(0)), os.urandom(4 * CHUNK)
    frame = struct.pack("<II", len(header), len(body)) + header + body
    try:
        send(frame[:1000])
        assert is_woken(5) and receiver.receive(no_place) is None
        send(frame[1000:2000])
        assert not is_woken(0.05)
        send(frame[2000:600_000])
        assert is_woken(5) and receiver.receive(no_place) is None
        sent = 600_000
        while sent < len(frame) - 10:
            part = frame[sent : min(sent + (1 << 19), len(frame) - 10)]
            send(part)
            sent += len(part)
            assert receiver.receive(no_place) is None
        send(frame[sent:])
        assert is_woken(5)
        found = receiver.receive(no_place)
        assert found is not None and bytes(found[1] or b"") == body
        small = encode(push(1))
        send(struct.pack("<II", len(small), 0) + small)
        assert is_woken(5) and receiver.receive(no_place) == (push(1), None)
        send(frame[:1000])
        assert receiver.receive(no_place) is None
        raw.close()
        assert is_woken(5)
        with pytest.raises(Closed):
            receiver.receive(no_place)
    finally:
        raw.close()
        receiver.close()
