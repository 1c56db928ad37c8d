"""Over TCP everything is sealed with CURVE; strangers get nowhere, garbage harms nobody, figures can be scraped."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from asgd.errors import TryAgain
from asgd.wire import control, limits
from asgd.wire.ask import Asker
from asgd.wire.control import Keys
from asgd.wire.messages import (
    PROTOCOL,
    AnyMessage,
    Beat,
    Command,
    Done,
    Exchange,
    Fault,
    Hello,
    Lease,
    Message,
    Pull,
    decode,
    encode,
)
from tests.local.run import Counting
from tests.local.strangers import GREETING, MIB, Crowd, Memory, descriptors, listening, threads


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    """A run over TCP that goes on for as long as the tests of this file need it."""
    with Counting(tmp_path_factory.mktemp("tcp"), 1000, "--transport", "tcp") as run:
        run.until_updates(5)
        yield run
        pids = {name: row["pid"] for name, row in run.rows().items()}
        assert run.interrupt() == 130, run.words()
        summary = run.summary()
        assert summary.restarts == {"worker": 0, "server": 0}, "nothing was disturbed"
        assert set(summary.workers_lost) <= {50}, "none but the test's own"
        # Fork servers stand by for restarts; they talk to nobody.
        trained = {name for name in pids if not name.startswith("forkserver-")}
        assert trained == {"server-0", "server-1", "worker-0", "worker-1"}
        assert run.model()["first"].sum() == run.model()["second"].sum() == summary.samples


def servers(run: Counting) -> list[str]:
    return run.connection()["ASGD_SERVERS"].split(",")


def keys(run: Counting) -> Keys:
    return Keys.load(Path(run.connection()["ASGD_KEYS"]))


def goes_on(run: Counting) -> None:
    """Training goes on, in the same processes."""
    before = run.until_updates(1)
    assert run.until_updates(before.updates + 5).terms == before.terms


def test_the_job_s_keys_open_the_door(sealed: Counting) -> None:
    assert all(endpoint.startswith("tcp://127.0.0.1:") for endpoint in servers(sealed))
    asker = Asker(servers(sealed)[0], keys(sealed))
    assert isinstance(asker.ask(Command("status"), 10), Done)
    asker.close()


def test_keys_are_for_their_owner_alone(sealed: Counting) -> None:
    path = Path(sealed.connection()["ASGD_KEYS"])
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("what", ["no keys", "another client key", "another server key"])
def test_without_the_job_s_keys_nobody_gets_an_answer(sealed: Counting, what: str) -> None:
    own, other = keys(sealed), Keys.make()
    wrong = {
        "no keys": None,
        "another client key": Keys(own.server_public, other.client_public, other.client_secret),
        "another server key": Keys(other.server_public, own.client_public, own.client_secret),
    }[what]
    for endpoint in servers(sealed):
        asker = Asker(endpoint, wrong)
        with pytest.raises(TryAgain):
            asker.ask(Command("stop", "interrupted"), 1.5)
        asker.close()
    goes_on(sealed)
    status = sealed.status()
    assert status is not None
    assert status.stop_reason == ""


def test_bytes_that_are_no_protocol_at_all_disturb_nobody(sealed: Counting) -> None:
    source = random.Random(1)
    for endpoint in servers(sealed):
        host, port = endpoint.removeprefix("tcp://").split(":")
        for size in (1, 64, 4096, 1 << 20):
            with socket.create_connection((host, int(port))) as stream:
                try:
                    stream.sendall(source.randbytes(size))
                except OSError:
                    continue  # hung up on: just so
        with socket.create_connection((host, int(port))) as stream:
            stream.sendall(
                b"\xff" + b"\x00" * 8 + b"\x7f" + b"\x03\x00NULL" + b"\x00" * 48 + b"\x02" + b"\xff" * 8
            )
    goes_on(sealed)


@pytest.fixture(scope="module")
def ports(sealed: Counting) -> dict[str, int]:
    """Where shard 0 can be reached: by ZeroMQ, for bulk, for HTTP."""
    zmq_port = int(servers(sealed)[0].rpartition(":")[2])
    http_port = int(sealed.rows()["server-0"]["metrics"].rpartition(":")[2])
    (bulk_port,) = listening(sealed.pid("server-0")) - {zmq_port, http_port}
    return {"zmq": zmq_port, "bulk": bulk_port, "http": http_port}


def healthy(run: Counting) -> bool:
    with urllib.request.urlopen(f"http://{run.rows()['server-0']['metrics']}/healthz", timeout=20) as answer:
        return bool(answer.read() == b"ok\n")


def test_a_gibibyte_of_a_stranger_without_keys_is_not_taken_in(
    sealed: Counting, ports: dict[str, int]
) -> None:
    with Memory(sealed.pid("server-0")) as memory, Crowd() as crowd:
        crowd.announce(ports["zmq"], 1 << 30, 1 << 30, 20)
        goes_on(sealed)
    assert memory.grown < 64


@pytest.mark.slow
def test_what_two_hundred_strangers_without_keys_begin_to_send_is_bounded_for_all_of_them_together(
    sealed: Counting, ports: dict[str, int]
) -> None:
    """Each announces the largest frame there is and never ends it: 3 GiB if nobody looked at their sum."""
    with Memory(sealed.pid("server-0")) as memory, Crowd() as crowd:
        size = limits.FRAME_MOST
        each = [
            threading.Thread(target=crowd.announce, args=(ports["zmq"], size, size - 1, 20))
            for _ in range(200)
        ]
        for one in each:
            one.start()
        goes_on(sealed)
        for one in each:
            one.join()
        goes_on(sealed)
        assert healthy(sealed)
    assert memory.grown < 10 * limits.HELD_MOST / MIB < 200 * limits.FRAME_MOST / MIB / 4


@pytest.mark.parametrize("first", [b"", GREETING, b"GET /metr"], ids=["silent", "greeting", "half a request"])
@pytest.mark.parametrize("port", ["zmq", "bulk", "http"])
def test_five_hundred_connections_that_are_held_open_stop_nobody(
    sealed: Counting, ports: dict[str, int], port: str, first: bytes
) -> None:
    pid = sealed.pid("server-0")
    before, running = descriptors(pid), threads(pid)
    with Memory(pid) as memory, Crowd() as crowd:
        crowd.idle(ports[port], 500, first)
        goes_on(sealed)
        assert healthy(sealed)
        assert sealed.until("who has the keys is let in", sealed.status)
        sealed.until(
            "most of them are hung up on", lambda: descriptors(pid) < before + limits.STRANGERS_MOST + 16
        )
        assert threads(pid) == running, "no thread for a connection"
    assert memory.grown < 64


@pytest.mark.parametrize("port", ["zmq", "bulk", "http"])
def test_garbage_on_any_port_disturbs_nobody(sealed: Counting, ports: dict[str, int], port: str) -> None:
    source = random.Random(1)
    with Memory(sealed.pid("server-0")) as memory, Crowd() as crowd:
        for size in (1, 15, 16, 17, 64, 4096, 1 << 20):
            for words in (source.randbytes(size), GREETING + source.randbytes(size), bytes(size)):
                crowd.idle(ports[port], 1, words)
        goes_on(sealed)
        assert healthy(sealed)
    assert memory.grown < 64


def talk(run: Counting, shard: int, frames: list[list[bytes]]) -> list[AnyMessage]:
    """Sends multipart messages with the job's own keys; the answers."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stream = control.dealer(context, servers(run)[shard], keys(run))
    answers = []
    for each in frames:
        stream.send_multipart(each)
        assert stream.poll(20_000), f"no answer to {each[0][:40]!r}"
        answers.append(decode(stream.recv_multipart()[0]))
    context.destroy(linger=0)
    return answers


@pytest.mark.parametrize("shard", [0, 1])
def test_headers_that_cannot_be_read_get_a_fault_each(sealed: Counting, shard: int) -> None:
    source = random.Random(shard)
    good = encode(Command("status"))
    odd = [
        b"",
        b"\x00",
        bytes([PROTOCOL + 1]) + good[1:],
        good[:-2],
        good + b"\x00",
        bytes([PROTOCOL]) + b"\xdd\xff\xff\xff\xff",
        bytes([PROTOCOL]) + b"\x92" * 5000,
        bytes([PROTOCOL]) + source.randbytes(1 << 22),
        *(bytes([PROTOCOL]) + source.randbytes(source.randrange(1, 60)) for _ in range(100)),
    ]
    answers = talk(sealed, shard, [[frame] for frame in odd])
    codes = [answer.code for answer in answers if isinstance(answer, Fault)]
    assert codes == ["protocol", "version", "version"] + ["protocol"] * (len(odd) - 3)
    assert isinstance(answers[2], Fault)
    assert f"protocol {PROTOCOL + 1}" in answers[2].text
    goes_on(sealed)


@pytest.mark.parametrize("shard", [0, 1])
def test_messages_that_make_no_sense_get_a_fault_each(sealed: Counting, shard: int) -> None:
    status = sealed.status()
    assert status is not None
    big = 1 << 62
    strangers: list[Message] = [
        Exchange(77, 1, 1, 0, 0, 8, 1, True, True),
        Exchange(0, 1, 1, 0, 0, 8, 1, True, True),
        Pull("worker", 77, 1, 0, 1),
        Pull("evaluator", 0, 1, big, 1),
        Lease(77, 1, 1),
        Hello("another-job", "worker", 9, 1, 1024, "x", 512),
        Hello("faults", "worker", 9, 1, 1024, "another layout", 512),
        Hello("faults", "worker", 0, 1, 1024, "", 512),
        Beat("worker", 77, 1),
        Command("explode"),
    ]
    answers = talk(sealed, shard, [[encode(message)] for message in strangers])
    assert all(isinstance(answer, Fault) for answer in answers), answers
    goes_on(sealed)


def test_a_member_that_sends_payloads_of_the_wrong_shape_harms_only_itself(sealed: Counting) -> None:
    layout = str(sealed.manifests()[-1]["layout"])
    hello = Hello("faults", "worker", 50, time.time_ns(), 1024, layout, 512)
    push = Exchange(50, hello.incarnation, 1, 0, 0, 8, 1, True, True)
    frames = [
        [encode(hello)],
        [encode(push)],
        [encode(push), b""],
        [encode(push), os.urandom(2047)],
        [encode(push), os.urandom(1 << 20)],
        [encode(Exchange(50, hello.incarnation, 1, 5, 0, 8, 1, True, True)), bytes(2048)],
        [encode(Exchange(50, hello.incarnation, 1, 0, 0, 8, 1, True, True, codec="nonsense")), bytes(2048)],
        [encode(Exchange(50, hello.incarnation, 1, 0, 0, 8, 1, True, True, codec="topk")), os.urandom(800)],
    ]
    for shard in (0, 1):
        answers = talk(sealed, shard, frames)
        assert all(isinstance(answer, Fault) for answer in answers[1:]), answers
    goes_on(sealed)


@pytest.mark.slow
def test_every_process_tells_prometheus_the_figures_of_the_run(sealed: Counting) -> None:
    for shard in (0, 1):
        first = sealed.metrics(f"server-{shard}")
        status = sealed.until_updates(int(first["asgd_server_updates_total"]) + 2)
        second = sealed.metrics(f"server-{shard}")
        assert (
            first["asgd_server_updates_total"] < status.versions[shard] <= second["asgd_server_updates_total"]
        )
        assert second["asgd_server_samples_total"] == 8 * second["asgd_server_updates_total"]
        assert second["asgd_server_term"] == 1
        assert second["asgd_server_parameters"] == 512
        assert second["asgd_server_received_bytes_total"] >= 4 * 512 * status.versions[shard]
    shares = [sealed.metrics(f"worker-{index}") for index in (0, 1)]
    told = sum(share["asgd_worker_samples_total"] for share in shares)
    assert 0 < told <= sealed.until_updates(int(told) // 8 - 2).samples + 16
    assert all(share["asgd_worker_steps_total"] * 8 == share["asgd_worker_samples_total"] for share in shares)
