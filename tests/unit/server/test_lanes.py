"""The same rules on every lane: exactly once, nobody in another's name, strangers and slow peers harm nobody."""

from __future__ import annotations

import os
import random
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asgd.server.bulk import QUEUE_MOST, TOKEN
from asgd.wire.lanes.bulk import FAILURES_MOST, STALL_SECONDS, BulkLane
from asgd.wire.limits import BULK_STRANGERS_MOST, STRANGER_SECONDS
from asgd.wire.messages import AnyMessage, Bye, Exchange, Fault, Pull, Reply, Welcome, encode
from asgd.wire.partition import CHUNK
from asgd.wire.stream import Stream
from asgd.worker.sending.channel import Channel
from tests.unit.server.rig import LANES, RATE, Rig

SIZE = 3 * CHUNK + 5
STREAMS = [way for way in LANES if way != "zmq"]


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("ASGD_SHM", str(tmp_path / "shm"))
    with Rig(tmp_path, request.param, SIZE) as made:
        yield made


every_lane = pytest.mark.parametrize("rig", LANES, indirect=True)
streams = pytest.mark.parametrize("rig", STREAMS, indirect=True)


def vectors(seed: int, count: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(SIZE).astype(np.float32) for _ in range(count)]


@every_lane
def test_two_workers_pushes_and_pulls_give_the_bits_of_the_two_step_arithmetic(rig: Rig) -> None:
    workers = [rig.joined(0), rig.joined(1)]
    pulled = [np.zeros(SIZE, np.float32), rig.memory(workers[1])]
    expected = np.ones(SIZE, np.float32)
    for sequence, vector in enumerate(vectors(1, 4), 1):
        for worker, into in zip(workers, pulled, strict=True):
            rig.exchange(worker, sequence, vector, into)
            rig.until(lambda worker=worker: not worker.busy)  # type: ignore[misc]
            expected += vector * np.float32(-RATE)
            assert np.array_equal(into.view(np.uint32), expected.view(np.uint32))
    assert rig.service.core.shard.state.version == 8


@streams
@pytest.mark.parametrize("seed", range(3))
def test_every_push_is_in_the_weights_once_however_often_connections_break(rig: Rig, seed: int) -> None:
    worker, chance = rig.joined(), random.Random(seed)
    expected, pulled = np.ones(SIZE, np.float32), rig.memory(worker)
    broken = 0

    def trouble() -> None:
        nonlocal broken
        if chance.random() < 0.8 and worker.lane.name != "zmq":
            broken += 1
            if chance.random() < 0.5:
                cut(worker)
            else:
                session = rig.service.bulk._sessions["worker", 0] if rig.service.bulk else None
                if session and session.connection:
                    session.connection.socket.shutdown(socket.SHUT_RDWR)

    for sequence, vector in enumerate(vectors(seed, 8), 1):
        rig.exchange(worker, sequence, vector, pulled)
        rig.until(lambda: not worker.busy, trouble)
        expected += vector * np.float32(-RATE)
        assert np.array_equal(rig.service.core.shard.state.weights, expected)
        assert np.array_equal(pulled, expected)
    assert rig.service.core.shard.state.version == 8
    assert broken > 1


def cut(worker: Channel) -> None:
    lane = worker.lane
    assert isinstance(lane, BulkLane) and lane._stream is not None
    lane._stream.socket.shutdown(socket.SHUT_RDWR)


def dial(rig: Rig, hello: bytes) -> socket.socket:
    """A connection of somebody who knows the address alone."""
    assert rig.service.bulk is not None
    address = rig.service.bulk.address
    if address.startswith("ipc://"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address.removeprefix("ipc://"))
    else:
        sock = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    sock.sendall(hello)
    sock.settimeout(0.01)
    return sock


def hung_up(rig: Rig, sock: socket.socket) -> bool:
    """Whether the server has ended the connection."""
    for _ in range(50):
        rig.step()
        try:
            return sock.recv(1) == b""
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@streams
def test_who_shows_no_token_of_an_open_session_is_hung_up_on_and_nobody_else_notices(rig: Rig) -> None:
    worker = rig.joined()
    mine = rig.connection()
    used = mine.shown
    frame = encode(Exchange(0, 1, 1, 0, 0, 8, 1, True, True))
    strangers = [
        dial(rig, hello + frame)
        for hello in (os.urandom(TOKEN), bytes(TOKEN), used, b"GET / HTTP/1.1\r\n\r\n")
    ]
    assert all(hung_up(rig, stranger) for stranger in strangers)
    assert rig.connection() is mine and not mine.dead
    silent = dial(rig, b"half a to")
    assert not hung_up(rig, silent)
    assert rig.service.bulk is not None
    rig.service.bulk.tick(time.monotonic() + STRANGER_SECONDS + 1, {0})
    assert hung_up(rig, silent)
    rig.exchange(worker, 1, vectors(0, 1)[0], None)
    rig.until(lambda: not worker.busy)
    assert worker.verdict == "applied" and worker.joins == 1
    for stranger in (*strangers, silent):
        stranger.close()


@streams
def test_strangers_take_each_others_places_and_not_the_members(rig: Rig) -> None:
    worker = rig.joined()
    crowd = [dial(rig, b"x") for _ in range(BULK_STRANGERS_MOST // 2)]
    rig.step()
    crowd += [dial(rig, b"x") for _ in range(BULK_STRANGERS_MOST)]
    rig.step()
    assert rig.service.bulk is not None
    assert len(rig.service.bulk._strangers) <= BULK_STRANGERS_MOST
    rig.exchange(worker, 1, vectors(0, 1)[0], None)
    rig.until(lambda: not worker.busy)
    assert worker.joins == 1
    for stranger in crowd:
        stranger.close()


@streams
@pytest.mark.parametrize(
    "message",
    [
        Exchange(1, 1, 1, 0, 0, 8, 1, True, True),
        Exchange(0, 2, 1, 0, 0, 8, 1, True, True),
        Pull("worker", 1, 1, 0, 1),
        Pull("evaluator", 0, 1, 0, 1),
        Bye("worker", 0, 1),
        Welcome(1, 0, 1, 0, 0, 1, 1, True, False),
    ],
)
def test_on_a_connection_its_own_member_pushes_and_pulls_and_nothing_else_is_served(
    rig: Rig, message: Any
) -> None:
    worker = rig.joined()
    rig.joined(1)
    answers = asked(rig, worker, message, bytes(4 * CHUNK))
    assert isinstance(answers, Fault) and answers.code == "protocol"
    assert rig.service.core.shard.members == {0: 1, 1: 1}
    assert (rig.service.core.shard.state.weights == 1).all()


def asked(rig: Rig, worker: Channel, message: Any, payload: bytes | None) -> AnyMessage:
    """The answer to what the worker's own connection is made to say."""
    lane = worker.lane
    assert isinstance(lane, BulkLane) and lane._stream is not None
    lane._stream.send(encode(message), payload)
    while True:
        rig.service.step()
        lane._stream.flush()
        if arrived := lane.receive():
            return arrived[0]


@every_lane
@pytest.mark.parametrize("payload", [None, b"", bytes(4), bytes(4 * CHUNK - 4), bytes(4 * CHUNK + 4)])
def test_payloads_of_the_wrong_size_get_a_fault_and_change_nothing(rig: Rig, payload: bytes | None) -> None:
    worker = rig.joined()
    message = Exchange(0, 1, 1, 0, 0, 8, 1, True, True)
    if rig.way != "zmq":
        answer = asked(rig, worker, message, payload)
    else:
        worker.lane.send(message, payload)
        while not (arrived := worker.lane.receive()):
            rig.service.step()
        answer = arrived[0]
    assert isinstance(answer, Fault) and answer.code == "protocol"
    assert rig.service.core.shard.state.version == 0


@streams
@pytest.mark.parametrize("seed", range(4))
def test_after_garbage_on_its_connection_a_worker_says_hello_again_and_goes_on(rig: Rig, seed: int) -> None:
    worker = rig.joined()
    lane = worker.lane
    assert isinstance(lane, BulkLane) and lane._stream is not None
    pulled = np.zeros(SIZE, np.float32)
    vector = vectors(0, 1)[0]
    lane._stream.socket.send(random.Random(seed).randbytes(50_000))
    rig.exchange(worker, 1, vector, pulled)
    rig.until(lambda: not worker.busy)
    assert np.array_equal(pulled, np.ones(SIZE, np.float32) + vector * np.float32(-RATE))
    assert rig.service.core.shard.state.version == 1


@streams
def test_a_worker_that_does_not_read_is_not_read_from_and_holds_up_nobody(rig: Rig) -> None:
    slow, quick = rig.joined(0), rig.joined(1)
    lane = slow.lane
    assert isinstance(lane, BulkLane) and lane._stream is not None
    rig.channels.remove(slow)
    for request in range(200):
        lane._stream.send(encode(Pull("worker", 0, 1, 0, request)))
    pulled = np.zeros(SIZE, np.float32)
    for sequence, vector in enumerate(vectors(0, 5), 1):
        rig.exchange(quick, sequence, vector, pulled)
        rig.until(lambda: not quick.busy)
    stream = rig.connection(0).stream
    assert stream is not None
    assert QUEUE_MOST < stream.queued < QUEUE_MOST + 8 * CHUNK
    assert rig.service.core.shard.state.version == 5
    heard = 0
    while heard < 200:
        rig.step()
        if frame := lane.receive():
            assert isinstance(frame[0], Reply) and frame[0].sequence == heard
            heard += 1


@streams
def test_what_an_earlier_connection_still_holds_is_not_served_after_a_new_hello(rig: Rig) -> None:
    worker = rig.joined()
    old = rig.connection()
    assert isinstance(worker.lane, BulkLane) and worker.lane._stream is not None
    left = worker.lane._stream.socket.dup()
    rig.channels.remove(worker)
    again = rig.joined(0, incarnation=2)
    assert old.dead and rig.connection() is not old
    assert rig.service.core.shard.members == {0: 2}
    assert hung_up(rig, left)
    left.close()
    rig.exchange(again, 1, vectors(0, 1)[0], None)
    rig.until(lambda: not again.busy)
    assert rig.service.core.shard.state.version == 1


@streams
def test_a_worker_that_is_no_member_any_more_loses_its_connection(rig: Rig) -> None:
    worker = rig.joined()
    connection = rig.connection()
    rig.service.core.shard.leave(0, 1)
    rig.step()
    assert connection.dead
    rig.exchange(worker, 1, vectors(0, 1)[0], None)
    rig.until(lambda: not worker.busy)
    assert worker.joins == 2 and rig.service.core.shard.state.version == 1


@streams
def test_a_connection_on_which_nothing_moves_is_given_up_for_a_new_one(rig: Rig) -> None:
    worker = rig.joined()
    rig.exchange(worker, 1, vectors(0, 1)[0], None)
    first = rig.connection()
    for later in (0.0, 1.5, 3.0 + STALL_SECONDS, 4.5 + 2 * STALL_SECONDS):
        rig.listen(later)
    assert worker.lane.name == "zmq" and not worker.joined
    rig.until(lambda: not worker.busy)
    assert first.dead and worker.joins == 2 and rig.service.core.shard.state.version == 1


@pytest.mark.parametrize("rig", ["tcp", "sealed"], indirect=True)
def test_where_the_address_can_not_be_reached_everything_goes_over_zeromq(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rig.service.bulk is not None
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        rig.service.bulk.address = f"tcp://:{nobody.getsockname()[1]}"
        worker = rig.worker()
        pulled = np.zeros(SIZE, np.float32)
        for sequence, vector in enumerate(vectors(0, 2), 1):
            rig.exchange(worker, sequence, vector, pulled)
            rig.until(lambda: not worker.busy)
    assert worker.lane.name == "zmq" and worker.joins == FAILURES_MOST + 1
    assert rig.service.core.shard.state.version == 2


@pytest.mark.parametrize("rig", ["sealed"], indirect=True)
def test_what_a_sealed_connection_carries_can_not_be_read_or_replayed(rig: Rig) -> None:
    worker = rig.joined()
    lane = worker.lane
    assert isinstance(lane, BulkLane) and isinstance(lane._stream, Stream)
    seen = bytearray()
    real = lane._stream._try

    def spied(parts: list[memoryview]) -> list[memoryview]:
        left = real(parts)
        whole = b"".join(parts)
        seen.extend(whole[: len(whole) - sum(part.nbytes for part in left)])
        return left

    lane._stream._try = spied  # type: ignore[method-assign]
    vector = np.full(SIZE, 0.5, np.float32)
    rig.exchange(worker, 1, vector, None)
    rig.until(lambda: not worker.busy)
    assert len(seen) > vector.nbytes
    assert vector[:16].tobytes() not in seen
    assert encode(Exchange(0, 1, 1, 0, 0, 8, 1, False, True, loss=0.5))[:20] not in seen
    lane._stream._queue.append(memoryview(bytes(seen)))
    lane._stream.queued += len(seen)
    rig.until(lambda: rig.connection().dead if lane._stream else True)
    assert rig.service.core.shard.state.version == 1


@pytest.mark.parametrize("rig", ["unix", "shm"], indirect=True)
def test_a_worker_whose_connection_has_just_broken_still_says_goodbye(rig: Rig) -> None:
    worker = rig.joined()
    cut(worker)
    worker.lane.send(Pull("worker", 0, 1, 0, 1))
    worker.lane.polls()
    worker.lane.send(Bye("worker", 0, 1))
    rig.channels.remove(worker)
    rig.until(lambda: not rig.service.core.shard.members)


@streams
def test_a_server_out_of_descriptors_lets_peers_in_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk = rig.service.bulk
    assert bulk is not None
    real = bulk._listener

    class Full:
        """A listener that has no descriptor left for a connection."""

        def accept(self) -> None:
            raise OSError(24, "Too many open files")

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    stranger = dial(rig, bytes(TOKEN))
    with monkeypatch.context() as full:
        full.setattr(bulk, "_listener", Full())
        full.setattr(
            bulk._selector, "unregister", lambda _: type(bulk._selector).unregister(bulk._selector, real)
        )
        bulk._accept()
    assert real not in bulk._selector.get_map()
    rig.step()
    assert hung_up(rig, stranger)
    stranger.close()


def test_an_order_fault_over_shared_memory_begins_a_new_session(tmp_path: Path) -> None:
    with Rig(tmp_path, "shm", SIZE) as rig:
        worker = rig.joined()
        first = rig.connection()
        vector, pulled = vectors(0, 1)[0], rig.memory(worker)
        rig.exchange(worker, 1, vector, pulled)
        first.send(Fault("order", "as if"))
        rig.until(lambda: not worker.busy)
        assert first.dead and worker.joins == 2
        assert np.array_equal(pulled, np.ones(SIZE, np.float32) + vector * np.float32(-RATE))
