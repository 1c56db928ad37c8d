"""A member that holds the job's keys and says what cannot be true, or what is not its to say, harms nobody.

Training goes on in the same processes, every sample is visited once, the run ends well, and what was refused is counted
under the member's name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from asgd.wire import control
from asgd.wire.control import Keys
from asgd.wire.messages import (
    AnyMessage,
    Beat,
    Beaten,
    Bye,
    Command,
    Done,
    Evaluated,
    Exchange,
    Fault,
    Gathered,
    Granted,
    Hello,
    Judged,
    Lease,
    Message,
    Welcome,
    decode,
    encode,
)
from asgd.wire.reports import ShardReport, WorkerReport
from tests.local.run import Counting

SIZE = 512
ROGUE = 7


class Member:
    """Worker `ROGUE`, by hand: one connection to a shard, with the job's own keys."""

    def __init__(self, run: Counting, shard: int, incarnation: int) -> None:
        told = run.connection()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        keys = Keys.load(Path(told["ASGD_KEYS"]))
        self._socket = control.dealer(self._context, told["ASGD_SERVERS"].split(",")[shard], keys)
        self.incarnation = incarnation

    def say(self, message: Message, *payload: bytes) -> AnyMessage:
        """The answer to a message."""
        return self.frames(encode(message), *payload)

    def frames(self, *frames: bytes) -> AnyMessage:
        self._socket.send_multipart(list(frames))
        assert self._socket.poll(60_000), f"no answer to {frames[0][:60]!r}"
        return decode(self._socket.recv_multipart()[0])

    def hello(self, run: Counting, **fields: Any) -> Hello:
        layout = str(run.manifests()[-1]["layout"])
        given = {
            "index": ROGUE,
            "incarnation": self.incarnation,
            "size": 2 * SIZE,
            "layout": layout,
            "dataset": SIZE,
        }
        return Hello("faults", "worker", **(given | fields))

    def push(self, **fields: Any) -> Exchange:
        given = {"samples": 8, "steps": 1, "pull": False, "finite": True}
        return Exchange(ROGUE, self.incarnation, 1, 0, 0, **(given | fields))

    def close(self) -> None:
        self._context.destroy(linger=200)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    """Two epochs that last for as long as the tests of this file need; then they end as if nobody had come."""
    with Counting(tmp_path_factory.mktemp("bad"), 2, "--transport", "tcp", size=SIZE, pace=0.5) as run:
        run.until_updates(2)
        run.until("the first checkpoint is there", run.manifests)
        pids = {name: row["pid"] for name, row in run.rows().items()}
        yield run
        assert {name: row["pid"] for name, row in run.rows().items()} == pids, run.words()
        assert run.finish() == 0, run.words()
        summary = run.summary()
        assert summary.restarts == {"worker": 0, "server": 0}, "nothing was disturbed"
        assert (run.model()["first"] == 2).all() and (run.model()["second"] == 2).all(), (
            "every sample once an epoch"
        )
        assert summary.samples == 2 * SIZE
        assert set(summary.workers_lost) <= {ROGUE}


@pytest.fixture(scope="module")
def joined(run: Counting) -> Iterator[list[Member]]:
    """The rogue, welcomed by both shards."""
    incarnation = time.time_ns()
    members = [Member(run, shard, incarnation) for shard in (0, 1)]
    for member in members:
        assert isinstance(member.say(member.hello(run)), Welcome)
    yield members
    for member in members:
        assert isinstance(member.say(Bye("worker", ROGUE, incarnation, reason="drained")), Done)
        member.close()


def refused(run: Counting, shard: int, reason: str) -> float:
    """How many messages of the rogue a shard has refused for a reason."""
    label = f'asgd_server_messages_refused_total{{peer="worker {ROGUE}",reason="{reason}"}}'
    return run.metrics(f"server-{shard}").get(label, 0)


def goes_on(run: Counting) -> None:
    before = run.until_updates(1)
    assert before.stop_reason == ""
    run.until_updates(before.updates + 1)


def pushes(member: Member) -> list[tuple[str, Message]]:
    """(reason, message): what a shard refuses of a member."""
    return [
        ("figures", member.push(meta={"alpha": math.nan})),
        ("codec", member.push(codec="zip")),
        ("speaker", Exchange(0, member.incarnation, 1, 0, 0, 8, 1, True, True)),
        ("speaker", Bye("worker", 0, member.incarnation)),
        ("speaker", Bye("worker", 0, member.incarnation, lost=True)),
    ]


def words(member: Member) -> list[tuple[str, Message]]:
    """The same of shard 0 alone."""
    huge = Beat("worker", ROGUE, member.incarnation, WorkerReport(buffers=b"123"))
    return [
        ("visits", member.push(visits=[(0, 8, 0)])),
        ("visits", member.push(visits=[(0, 0, SIZE + 8)])),
        ("visits", member.push(visits=[(1 << 31, 0, 8)])),
        ("report", huge),
        ("speaker", Beat("shard", 1, 1, ShardReport(version=1 << 40, leaving=True))),
        ("speaker", Beat("worker", 0, member.incarnation)),
        ("speaker", Lease(0, member.incarnation, 1)),
        ("speaker", Command("stop", "interrupted")),
        ("speaker", Command("save")),
        ("role", Evaluated(1, 8, {"visits": math.inf}, True)),
    ]  # fmt: skip


@pytest.mark.parametrize("shard", [0, 1])
def test_what_a_member_says_in_anothers_name_or_beyond_all_bounds_is_refused_and_counted(
    run: Counting, joined: list[Member], shard: int
) -> None:
    member = joined[shard]
    bad = pushes(member) + (words(member) if shard == 0 else [])
    payload = bytes(4 * SIZE)
    for reason, message in bad:
        before = refused(run, shard, reason)
        answer = member.say(message, *([payload] if isinstance(message, Exchange) else []))
        assert isinstance(answer, Fault) and answer.code == f"refused:{reason}", (message, answer)
        assert refused(run, shard, reason) == before + 1
    goes_on(run)
    status = run.until_updates(1)
    assert {worker.index for worker in status.workers if worker.state == "running"} >= {0, 1}
    if shard == 0:
        assert status.refused_messages["visits"] >= 3
        assert status.samples <= 2 * SIZE


@pytest.mark.parametrize("shard", [0, 1])
@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("refused:size", {"size": 10**12}),
        ("refused:size", {"size": 8}),
        ("refused:tensors", {"tensors": b"no JSON"}),
        ("refused:tensors", {"tensors": b'[["first", [7]]]'}),
        ("refused:incarnation", {"incarnation": 1 << 62}),
        ("refused:seen", {"seen": 1 << 47}),
        ("fenced", {"term": 1 << 20}),
        ("layout", {"layout": "another"}),
        ("job", {"job": "another"}),
        ("protocol", {"term": 1 << 60}),
        ("protocol", {"size": 10**15}),
        ("protocol", {"index": 1 << 40}),
    ],
)
def test_a_hello_that_cannot_be_true_joins_nobody_and_ends_no_server(
    run: Counting, shard: int, code: str, fields: dict[str, Any]
) -> None:
    member = Member(run, shard, time.time_ns())
    hello = member.hello(run, **({"index": ROGUE + 1} | {k: v for k, v in fields.items() if k != "job"}))
    hello.job = fields.get("job", hello.job)
    answer = member.say(hello)
    assert isinstance(answer, Fault) and answer.code == code, answer
    assert isinstance(member.say(Command("status")), Done if shard == 0 else Fault), "it lives"
    member.close()


def test_headers_beyond_all_bounds_are_not_read(run: Counting, joined: list[Member]) -> None:
    member = joined[0]
    many = member.push(visits=[(0, start, start + 1) for start in range(300_000)])
    figures = member.push(meta={str(name): 1.0 for name in range(1_000_000)})
    huge = member.push(samples=(1 << 63) - 1)
    for message in (many, figures, huge):
        before = refused(run, 0, "protocol")
        answer = member.say(message, bytes(4 * SIZE))
        assert isinstance(answer, Fault) and answer.code == "protocol"
        assert refused(run, 0, "protocol") == before + 1, "counted under its name"
    answer = member.frames(encode(member.push()), bytes(4 * SIZE), b"and more", *[b""] * 10_000)
    assert isinstance(answer, Fault) and answer.code == "protocol"
    goes_on(run)


def test_reports_of_shards_that_there_are_not_change_nothing(run: Counting) -> None:
    member = Member(run, 0, 1)
    before = run.until_updates(1)
    for message in (
        Beat("shard", 2, 1, ShardReport(version=1 << 50, leaving=True)),
        Beat("shard", 0, 9, ShardReport(version=1 << 50)),
        Gathered(5, 1, 1, 1, [(0, 1)]),
        Judged(1, 1, [math.nan]),
        Evaluated(1, 8, {"visits": 1.0}, True),
        Evaluated(1, 8, {"visits": 1.0}, True, "worker", 0, 1),
    ):
        answer = member.say(message)
        assert isinstance(answer, Fault), (message, answer)
    assert not isinstance(member.say(Lease(0, 1, 1)), Granted | Beaten)
    member.close()
    after = run.until_updates(before.updates + 1)
    assert (after.terms, after.restarts, after.metrics) == (before.terms, before.restarts, before.metrics)
