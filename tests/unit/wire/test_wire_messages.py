"""Messages: every one survives the wire, and no bytes whatever bring a server down."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgd.errors import ProtocolError, VersionMismatch
from asgd.wire import limits
from asgd.wire.messages import PROTOCOL, Beat, Bye, Exchange, Hello, Message, Pull, decode, encode
from tests.effort import examples
from tests.unit.wire.anything import KINDS, values


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
        pytest.param(raw("Hello", "job", "king", 0, 1, 4, "layout"), id="an unknown role"),
        pytest.param(raw("Hello", "job", "worker", 10_000, 1, 4, "layout"), id="a worker beyond all indices"),
        pytest.param(
            raw("Hello", "job", "worker", 0, 1 << 63, 4, "layout"), id="an incarnation beyond all clocks"
        ),
        pytest.param(raw("Hello", "job", "worker", 0, 1, 10**15, "layout"), id="a size of 4 petabytes"),
        pytest.param(raw("Hello", "job", "worker", 0, 1, 4, "x" * 257), id="a layout that is no hash"),
        pytest.param(
            raw("Hello", "job", "worker", 0, 1, 4, "layout", 8, 0, 1 << 40), id="a term beyond all starts"
        ),
        pytest.param(
            raw(
                "Hello",
                "job",
                "worker",
                0,
                1,
                4,
                "layout",
                8,
                0,
                1,
                0,
                "",
                "",
                bytes(limits.TENSORS_MOST + 1),
            ),
            id="too many tensors",
        ),
        pytest.param(
            raw("Hello", "job", "worker", 0, 1, 4, "layout", 8, 0, 1, 0, "", "", b"", ["zmq"] * 9),
            id="nine lanes",
        ),
        pytest.param(raw("Exchange", 0, 1, 1, 0, 0, 1 << 62, 1, True, True), id="samples near 2^63"),
        pytest.param(raw("Exchange", 0, 1, 1, 0, 0, 8, 1 << 62, True, True), id="steps near 2^63"),
        pytest.param(
            raw("Exchange", 0, 1, 1, 0, 0, 8, 1, True, True, "fp32", "fp32", "much"),
            id="a loss that is no number",
        ),
        pytest.param(
            raw("Exchange", 0, 1, 1, 0, 0, 8, 1, True, True, "fp32", "fp32", 1.0, [(0, -8, 8)]),
            id="a visit below zero",
        ),
        pytest.param(
            raw(
                "Exchange",
                0,
                1,
                1,
                0,
                0,
                8,
                1,
                True,
                True,
                "fp32",
                "fp32",
                1.0,
                [(0, i, i + 1) for i in range(300_000)],
            ),
            id="300,000 visits",
        ),
        pytest.param(
            raw(
                "Exchange",
                0,
                1,
                1,
                0,
                0,
                8,
                1,
                True,
                True,
                "fp32",
                "fp32",
                1.0,
                [],
                {str(i): 1.0 for i in range(10**6)},
            ),
            id="a million figures",
        ),
        pytest.param(raw("Beat", "shard", 0, 1, {str(i): 1 for i in range(65)}), id="a report of 65 entries"),
        pytest.param(raw("Gathered", 10_000, 1, 1, 1), id="a shard beyond all indices"),
        pytest.param(raw("Gathered", 1, 1, 1, 1, [("0", 1)]), id="a worker that is text"),
        pytest.param(raw("Gathered", 1, 1, 1, 1, [(0, 1)] * 10_001), id="more pushes than workers"),
        pytest.param(raw("Judged", 1, 1, [0.5] * 10_002), id="more losses than workers"),
        pytest.param(raw("Judged", 1, 1, ["low"]), id="a loss that is text"),
        pytest.param(raw("Evaluated", 1, 1, {str(i): 1.0 for i in range(65)}, False), id="65 metrics"),
        pytest.param(raw("Command", "stop", "x" * 257), id="a reason of 257 characters"),
        pytest.param(raw("Lease", 0, 1, 1 << 62), id="a request near 2^63"),
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
    with pytest.raises(
        VersionMismatch, match=f"peer speaks protocol {spoken}, this version speaks {PROTOCOL}"
    ) as told:
        decode(frame)
    assert told.value.code == "version"
    with pytest.raises(ProtocolError) as told:
        decode(frame[:0])
    assert told.value.code == "protocol"


def test_a_counter_to_which_the_largest_push_was_added_four_billion_times_fits_in_63_bits() -> None:
    assert limits.COUNT_MOST * 2**32 <= limits.TOTAL_MOST < 2**63
    assert limits.TERM_MOST << 40 < 2**63, "states of chunks are numbered by term (delta.py)"


def test_fields_that_a_newer_peer_has_added_at_the_end_are_ignored() -> None:
    assert decode(raw("Bye", "worker", 3, 4, True, "why", "something new")) == Bye(
        "worker", 3, 4, True, "why"
    )


def test_optional_fields_may_be_left_out() -> None:
    assert decode(raw("Beat", "shard", 1, 2)) == Beat("shard", 1, 2)
    assert isinstance(decode(raw("Pull", "worker", 0, 1, 2, 3)), Pull)
    assert isinstance(decode(raw("Exchange", 0, 1, 1, 0, 0, 1, 1, True, True)), Exchange)
    assert isinstance(decode(raw("Hello", "job", "worker", 0, 1, 4, "layout")), Hello)
