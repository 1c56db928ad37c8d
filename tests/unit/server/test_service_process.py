"""A real server process: nothing that arrives brings it down, and who has to wait for long is told that it lives."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest
import zmq

from asgd.wire.ask import Asker
from asgd.wire.messages import Exchange, Fault, Granted, Hello, Init, Lease, Message, Pull, decode, encode
from asgd.worker.sending.centre import Centre
from asgd.worker.sending.heartbeat import Heartbeat
from tests.checks.processes import SIZE, Processes, centre_of, push_of

pytestmark = pytest.mark.timeout(400)

SPEC = {
    "entrypoint": "nobody:asks",
    "optimizer": {"learningRate": 0.25},
    "stopAfter": {"updates": 1000},
    "parameterServer": {"shards": 1},
}


def nonsense() -> list[list[bytes]]:
    """Messages as no version of this program sends them."""
    rng = random.Random(0)
    good: list[Message] = [
        Hello("check", "worker", 5, 9, SIZE, "layout"),
        Hello("another", "worker", 0, 1, 4, "layout"),
        Hello("check", "worker", 6, 9, SIZE, "another layout", dataset=7),
        Init(0, 1, 0),
        Exchange(0, 1, 1, 0, 0, 8, 1, True, True),
        Exchange(5, 9, 1, 3, 0, 8, 1, True, True, "zip"),
        Pull("worker", 5, 9, 1 << 40, 1),
        Pull("evaluator", 5, 9, 1 << 40, 1),
        Pull("nobody", 5, 9, 0, 1),
        Lease(5, 9, 1),
    ]
    frames = [[], [b""], [b"\x02"], [b"\x01" + b"\x91" * 50_000]]
    for header in map(encode, good):
        frames += [[header], [header, b""], [header, rng.randbytes(7)], [header, b"x" * 16, b"more"]]
        for _ in range(30):
            damaged = bytearray(header)
            damaged[rng.randrange(len(header))] = rng.randrange(256)
            frames.append([bytes(damaged), rng.randbytes(16)])
    return frames + [[rng.randbytes(rng.randrange(1, 60))] for _ in range(200)]


def test_no_message_whatever_brings_a_server_down_or_moves_its_weights(tmp_path: Path) -> None:
    with Processes(tmp_path, SPEC) as run:
        centre = centre_of(run, 0)
        centre.join(lambda: np.ones(SIZE, np.float32))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stranger = context.socket(zmq.DEALER)
        stranger.connect(run.config(0).servers[0])
        for frames in nonsense():
            stranger.send_multipart(frames or [b""])
            while stranger.poll(0):
                decode(stranger.recv_multipart()[0])
        assert run.servers[0].poll() is None, run.logs()
        pulled = np.zeros(SIZE, np.float32)
        outcome = centre.exchange(np.ones(SIZE, np.float32), pulled, push_of(centre))
        assert outcome.verdicts == ("applied",)
        assert pulled.tolist() == [0.75] * SIZE
        answer = last_word(stranger)
        assert isinstance(answer, Fault)
        assert run.servers[0].poll() is None, run.logs()
        assert {worker.index for worker in run.until(lambda status: status.updates == 1).workers} == {0, 5}
        centre.leave()
        context.destroy(linger=0)


def test_a_worker_that_is_held_back_for_longer_than_its_patience_does_not_give_up(tmp_path: Path) -> None:
    """The patience is for servers that are silent; this one answers each second that there is nothing yet."""
    spec = SPEC | {"exchange": {"warmStart": {"samples": 8}}}
    with Processes(tmp_path, spec) as run:
        first = centre_of(run, 0)
        first.join(lambda: np.ones(SIZE, np.float32))
        held: Centre = centre_of(run, 1, patience_seconds=2.0)
        held.join(lambda: np.zeros(SIZE, np.float32))
        late = threading.Timer(4.5, lambda: first.exchange(np.ones(SIZE, np.float32), None, push_of(first)))
        late.start()
        pulled = np.zeros(SIZE, np.float32)
        held.pull(pulled)
        late.join()
        assert pulled.tolist() == [0.75] * SIZE
        for centre in (first, held):
            centre.leave()


def last_word(stranger: zmq.Socket[bytes]) -> Message:
    """The answer to a hello to another job. NB: a busy server may drop answers of so many; it is asked again."""
    while True:
        stranger.send(encode(Hello("the last word", "worker", 0, 1, SIZE, "layout")))
        while stranger.poll(2000):
            answer = decode(stranger.recv_multipart()[0])
            if "the last word" in getattr(answer, "text", ""):
                return answer


def test_under_wait_the_end_of_an_epoch_is_reached_although_some_have_no_data_left(tmp_path: Path) -> None:
    """Worker 0 holds all that is left; nobody of the two shards may make it wait for worker 1, which has nothing."""
    wait = {"staleness": {"max": 0, "policy": "Wait"}}
    spec = SPEC | {
        "exchange": wait,
        "parameterServer": {"shards": 2},
        "stopAfter": {"epochs": 1},
        "batchSize": 8,
    }
    with Processes(tmp_path, spec) as run:
        busy, idle = (centre_of(run, index, dataset=64, split=True) for index in (0, 1))
        hearts = []
        for centre in (busy, idle):
            centre.join(lambda: np.ones(SIZE, np.float32))
            hearts.append(Heartbeat(run.config(0).servers[0], None, centre.identity))
            hearts[-1].start()
        leases: list[tuple[int, int, int]] = []
        asker, other = (Asker(run.config(0).servers[0], None) for _ in range(2))
        while (
            isinstance(granted := asker.ask(ask_of(busy, len(leases) + 1), 30.0), Granted)
            and not granted.wait
        ):
            leases.append((granted.epoch, granted.start, granted.stop))
        assert [stop - start for _, start, stop in leases] == [8] * 8
        answer = other.ask(ask_of(idle, 1), 30.0)
        assert isinstance(answer, Granted) and answer.wait
        stops = [
            busy.exchange(np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32), push_of(busy, lease)).stop
            for lease in leases
        ]
        assert stops == [""] * 7 + ["epochs"]
        for ended in (*hearts, asker, other):
            ended.close()
        for centre in (busy, idle):
            centre.leave()


def ask_of(centre: Centre, request: int) -> Lease:
    return Lease(centre.identity.index, centre.identity.incarnation, request)
