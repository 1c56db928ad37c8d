"""Messages: every one survives the wire, and no bytes whatever bring a server down."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgd.errors import ProtocolError
from asgd.wire import messages
from asgd.wire.messages import PROTOCOL, AnyMessage, Beat, Bye, Exchange, Hello, Message, Pull, decode, encode
from tests.effort import examples

KINDS: tuple[type[Message], ...] = typing.get_args(AnyMessage)

naturals = st.one_of(st.integers(0, 5), st.integers(0, 2**63 - 1))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text()
)


def values(kind: type[typing.Any]) -> st.SearchStrategy[typing.Any]:
    """Any message of a kind, or any struct in one."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        fields[field.name] = _of(field.type)
    return st.builds(kind, **fields)


def _of(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return values(kind)
    if kind == messages.Natural:
        return naturals
    if typing.get_origin(kind) is typing.Annotated:
        return naturals.map(lambda n: max(n, 1))
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return st.lists(_of(inner[0]), max_size=3)
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(_of(inner[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_of, inner))
    if origin is dict:
        return st.dictionaries(_of(inner[0]), _of(inner[1]), max_size=3)
    if origin is not None:  # X | None
        return st.one_of(*map(_of, inner))
    simple = {
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
        str: st.text(),
        bytes: st.binary(),
        bool: st.booleans(),
        type(None): st.none(),
        typing.Any: scalars,
    }
    return simple[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(deadline=None, max_examples=examples(40))
@given(st.data())
def test_a_message_survives_the_wire(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(values(kind))
    frame = encode(message)
    assert decode(frame) == message
    assert decode(memoryview(frame)) == message
    assert type(decode(frame)) is kind


@settings(deadline=None, max_examples=examples(400))
@given(st.binary(max_size=80))
@example(b"")
@example(b"\x01")
@example(b"\x01\xc0")
def test_random_bytes_are_a_message_or_a_protocol_error(frame: bytes) -> None:
    for header in (frame, bytes([PROTOCOL]) + frame):
        try:
            assert isinstance(decode(header), KINDS)
        except ProtocolError as error:
            assert str(error)


@settings(deadline=None, max_examples=examples(400))
@given(st.sampled_from(KINDS).flatmap(values), st.data())
def test_a_header_with_flipped_cut_or_added_bytes_is_a_message_or_a_protocol_error(
    message: Message, data: st.DataObject
) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for damaged in (bytes(frame), bytes(frame[:cut]), bytes(frame) + b"\x00"):
        try:
            assert isinstance(decode(damaged), KINDS)
        except ProtocolError:
            continue


def raw(*fields: object) -> bytes:
    return bytes([PROTOCOL]) + msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(bytes([PROTOCOL]) + b"\x94\xa3Bye\xa2\xff\xfe\x00\x00", id="text that is no UTF-8"),
        pytest.param(
            bytes([PROTOCOL]) + b"\x95\xa4Beat\xa1a\x00\x00\x81\xa1x" + b"\x91" * 100_000 + b"\x00",
            id="too deep",
        ),
        pytest.param(raw("Pull", "worker", 0, 1, -1, 1), id="a chunk below zero"),
        pytest.param(raw("Exchange", 0, 1, 1, 0, -1, 1, 1, True, True), id="a base below zero"),
        pytest.param(raw("Hello", "job", "worker", 0, 1, -4, "layout"), id="a size below zero"),
        pytest.param(raw("Hello", "job", "worker", 0, 1, 4, "layout", 0), id="no samples at all"),
        pytest.param(raw("Bye", "worker", (1 << 64) - 1, 1), id="a number beyond 63 bits"),
        pytest.param(raw("Reboot", 1), id="an unknown message"),
        pytest.param(raw("Bye", "worker"), id="too few fields"),
        pytest.param(raw("Bye", 5, 0, 1), id="a field of another type"),
        pytest.param(raw(), id="no field at all"),
    ],
)
def test_a_header_that_breaks_the_rules_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed header"):
        decode(frame)


@pytest.mark.parametrize("spoken", [0, PROTOCOL + 1, 255])
def test_another_protocol_version_is_told_apart_from_damage(spoken: int) -> None:
    frame = bytes([spoken]) + encode(Bye("worker", 0, 1))[1:]
    with pytest.raises(ProtocolError, match=f"peer speaks protocol {spoken}, this version speaks {PROTOCOL}"):
        decode(frame)


def test_fields_that_a_newer_peer_has_added_at_the_end_are_ignored() -> None:
    assert decode(raw("Bye", "worker", 3, 4, True, "why", "something new")) == Bye(
        "worker", 3, 4, True, "why"
    )


def test_optional_fields_may_be_left_out() -> None:
    assert decode(raw("Beat", "shard", 1, 2)) == Beat("shard", 1, 2)
    assert isinstance(decode(raw("Pull", "worker", 0, 1, 2, 3)), Pull)
    assert isinstance(decode(raw("Exchange", 0, 1, 1, 0, 0, 1, 1, True, True)), Exchange)
    assert isinstance(decode(raw("Hello", "job", "worker", 0, 1, 4, "layout")), Hello)
