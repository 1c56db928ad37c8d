"""Whatever is said to a server, in whose name ever: no error of its own, and what it refuses has changed nothing."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgd.errors import ProtocolError
from asgd.server.core import PRIMARY
from asgd.wire.messages import (
    AnyMessage,
    Beat,
    Beaten,
    Decided,
    Exchange,
    Fault,
    Gathered,
    Hello,
    Judged,
    Lease,
    Message,
    Reply,
    Welcome,
    decode,
    encode,
)
from tests.effort import examples
from tests.unit.server.members import BATCH, NOW, SAMPLES, SIZE, STARTED, TENSORS, Members
from tests.unit.wire.anything import KINDS, values

SENDERS = [0, 1, "shard 1", "oracle", "new", "newer"]
INDICES = [0, 0, 1, 1, 2, 3, 4, 9_999]
INCARNATIONS = [STARTED, STARTED, STARTED, STARTED + 1, 0, 1, 1 << 62]
ALGORITHMS: list[dict[str, Any]] = [
    {"name": "asgd"},
    {"name": "easgd", "beta": 0.9, "period": 4},
    {"name": "easgd", "beta": 0.9, "period": 4, "synchronous": True},
    {"name": "sync"},
    {"name": "krum", "byzantine": 0},
    {"name": "zeno", "byzantine": 1},
    {"name": "safeguard"},
    {"name": "lsgd"},
    {"name": "lsgd", "groups": 2, "globalPeriod": 10},
    {"name": "lsgd", "asynchronous": True, "groups": 2},
    {"name": "neuroevolution"},
    {"name": "diloco"},
    {"name": "streaming-diloco"},
    {"name": "async-diloco"},
    {"name": "staleness-aware"},
    {"name": "ssp", "bound": 1},
]
PAYLOADS = [
    bytes(16),
    np.ones(4, np.float32).tobytes(),
    np.full(4, np.nan, np.float32).tobytes(),
    None,
    b"",
    b"123",
]
MEASURES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.text(max_size=3), st.floats(), st.integers(-(2**63), 2**63 - 1)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=8,
)


def names(algorithm: dict[str, Any]) -> str:
    return "-".join(str(value) for value in algorithm.values() if isinstance(value, str | bool))


@st.composite
def said(draw: st.DrawFn) -> tuple[Any, Message, Any]:
    """(sender, message, payload): a message of any kind, for the most part in the name of somebody who is there."""
    message = draw(st.sampled_from(KINDS).flatmap(values))
    fields: dict[str, Any] = {}
    for name, choice in [
        ("index", INDICES), ("incarnation", INCARNATIONS), ("shard", [1, 1, 0, 2]), ("sequence", [1, 1, 2, 3]),
        ("chunk", [0, 0, 0, 1]), ("base", [0, 0, 1, 10]), ("parts", [1, 1, 4]), ("part", [0, 0, 1]),
        ("run", [1, 1, 2]), ("term", [0, 1, 1, 2]), ("codec", ["fp32", "fp32", "int8"]), ("answer", ["fp32"]),
        ("job", ["check"]), ("layout", ["layout", "layout", "another"]), ("size", [SIZE, SIZE, 2 * SIZE]),
        ("dataset", [SAMPLES, SAMPLES, None]), ("tensors", [TENSORS, TENSORS, b""]), ("chief", [0, 1, 1]),
        ("request", [1, 2, 3]), ("measured", [0, 1, 2]), ("number", [0, 1, 2]), ("samples", [BATCH, BATCH, 0]),
        ("steps", [1, 1, 0]),
    ]:  # fmt: skip
        if name in message.__struct_fields__ and draw(st.integers(0, 7)):
            fields[name] = draw(st.sampled_from(choice))
    if isinstance(message, Gathered):
        fields["measures"] = draw(
            st.dictionaries(st.sampled_from(["gram", "products", "x"]), MEASURES, max_size=2)
        )
        fields["have"] = draw(st.sampled_from([[], [(0, 1)], [(0, 1), (1, 1)], [(1, 7)]]))
    message = msgspec.structs.replace(message, **fields)
    sender = draw(st.sampled_from(SENDERS))
    if getattr(message, "index", None) in (0, 1) and draw(st.booleans()):
        sender = getattr(message, "index", None)
    return sender, message, draw(st.sampled_from(PAYLOADS))


def tell(members: Members, sender: Any, message: AnyMessage, payload: Any) -> list[Any]:
    """The answers as a driver sends them, which must be messages that can be sent."""
    before = members.held
    try:
        answers = members.core.receive(sender, message, payload, NOW)
    except ProtocolError as error:
        answers = ((sender, members.core.refuse(sender, message, "protocol", str(error)), None),)
    for _, answer, body in answers:
        decode(encode(answer))
        bytes(memoryview(body)) if body is not None else None
    if any(isinstance(answer, Fault) for to, answer, _ in answers if to == sender):
        assert members.held == before, f"{message} was refused, and has changed something"
    return [answer for _, answer, _ in answers]


def go_on(members: Members, passed: float) -> None:
    """What a driver does after a few messages."""
    for _, answer, _ in members.core.settle(NOW + passed):
        decode(encode(answer))
    for sender, pull in members.core.released():
        members.core.receive(sender, pull, None, NOW + passed)
    for _, answer, _ in members.core.tick(NOW + passed):
        decode(encode(answer))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=names)
@pytest.mark.parametrize("index", [0, 1])
@settings(deadline=None, max_examples=examples(25))
@given(st.data())
def test_no_message_whatever_is_an_error_of_the_servers(
    algorithm: dict[str, Any], index: int, data: st.DataObject
) -> None:
    members = Members(index=index, algorithm=algorithm)
    for sender, message, payload in data.draw(st.lists(said(), min_size=1, max_size=12)):
        tell(members, sender, decode(encode(message)), payload)
        go_on(members, 0.1)
    assert np.isfinite(members.core.shard.state.weights).all()
    msgspec.msgpack.encode(members.held["shard"])
    msgspec.msgpack.encode(members.held.get("job"))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=names)
def test_a_job_goes_on_beside_a_member_who_says_anything(algorithm: dict[str, Any]) -> None:
    """Workers 0 and 1 do as they should; a third, whom nothing stops from joining, does not."""
    rng, members, met = random.Random(1), Members(index=0, algorithm=algorithm), Counter[str]()
    figures = {"alpha": 0.5} if "easgd" in algorithm["name"] else {}
    steps = 0
    for turn in range(300):
        message = nonsense(rng, turn)
        for answer in tell(members, 2, message, rng.choice(PAYLOADS)):
            met[answer.code if isinstance(answer, Fault) else type(answer).__name__] += 1
        go_on(members, 0.0)
        worker = turn % 2
        if turn % 10 < 2:
            seen = members.core.shard.seen[worker]
            answer = members.push(
                worker, seen.sequence + 1, meta=figures, base=members.core.shard.state.version
            )
            steps += isinstance(answer, Reply)
    assert steps == 60, "each push of those who do as they should had its answer"
    assert members.core.shard.members.keys() >= {0, 1}
    assert not members.core.stop
    assert np.isfinite(members.core.shard.state.weights).all()
    assert any(code.startswith("refused:") for code in met)


def nonsense(rng: random.Random, turn: int) -> AnyMessage:
    """One message of worker 2 on its own connection, now and then a hello; some of them could be true."""
    if turn % 50 == 0:
        return Hello("check", "worker", 2, STARTED, SIZE, "layout", SAMPLES)
    big = rng.choice([0, 1, 8, 1 << 26, 1 << 48])
    spans = [(0, rng.randrange(80), rng.randrange(80)) for _ in range(rng.randrange(3))]
    value = rng.choice([0.0, 1.0, float("nan"), float("inf"), 1e300])
    return rng.choice(
        [
            Exchange(
                2, STARTED, min(big, 9), 0, big, min(big, 1 << 26), 1, True, True, visits=spans, loss=value
            ),
            Exchange(
                2, STARTED, 1, 0, 0, 8, 1, True, True, meta={rng.choice(["alpha", "send", "wide"]): value}
            ),
            Exchange(0, STARTED, 9, 0, 0, 8, 1, True, True),
            Lease(2, STARTED, big),
            Lease(0, STARTED, big),
            Beat("worker", 0, STARTED),
            Beat("shard", 1, big % 100),
            Gathered(1, 1, 1, big, [(0, big), (2, 1)], 1, {"gram": [[value]]}),
            Judged(1, 1, [value] * rng.randrange(5)),
        ]
    )


def test_messages_of_shard_0_are_taken_from_shard_0_alone() -> None:
    members = Members(index=1, algorithm={"name": "sync"})
    before = members.held
    for message in (
        Decided(1, 1, [0, 1]),
        Beaten(workers=9, stop="interrupted"),
        Welcome(1, 0, 1, 0, 0, 1, 1, True, False),
    ):
        (answer,) = tell(members, 0, message, None)
        assert isinstance(answer, Fault) and answer.code == "protocol"
    assert members.held == before and not members.core.stop
    members.core.receive(PRIMARY, Beaten(workers=2, stop="interrupted"), None, NOW)
    assert members.core.stop == "interrupted"
