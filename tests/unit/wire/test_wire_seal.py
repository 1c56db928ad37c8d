"""Boxes open once, in order, at the other end, under the session's own keys, and not otherwise."""

from __future__ import annotations

import os

import pytest

from asgd.errors import ProtocolError
from asgd.wire import seal
from asgd.wire.seal import RANDOM, TAG, Seal, session_keys

MINE, THEIRS = bytes(range(RANDOM)), bytes(range(100, 100 + RANDOM))


def ends(about: str = "job shard 0 worker 1 7") -> tuple[Seal, Seal]:
    up, down = session_keys(MINE, THEIRS, about)
    return Seal(up, down), Seal(down, up)


def boxed(end: Seal, plain: bytes, about: bytes = b"about") -> bytearray:
    box = bytearray(len(plain) + TAG)
    end.close_box(about, plain, box)
    return box


def opened(end: Seal, box: bytes | bytearray, about: bytes = b"about") -> bytes:
    plain = bytearray(len(box) - TAG)
    end.open_box(about, box, plain)
    return bytes(plain)


def test_both_directions_open_in_order() -> None:
    worker, server = ends()
    for text in (b"", b"one", os.urandom(1 << 20)):
        assert opened(server, boxed(worker, text)) == text
        assert opened(worker, boxed(server, text)) == text


def test_nothing_of_the_text_shows() -> None:
    worker, _ = ends()
    assert b"gradient" not in boxed(worker, b"gradient" * 100)
    assert boxed(worker, b"same") != boxed(worker, b"same")


@pytest.mark.parametrize("what", ["replayed", "skipped", "reflected", "bit", "about", "another session"])
def test_what_is_not_the_next_box_of_this_session_does_not_open(what: str) -> None:
    worker, server = ends()
    first, second = boxed(worker, b"first"), boxed(worker, b"second")
    with pytest.raises(ProtocolError, match="forged, replayed or damaged"):
        if what == "replayed":
            assert opened(server, first) == b"first"
            opened(server, first)
        elif what == "skipped":
            opened(server, second)
        elif what == "reflected":
            opened(worker, first)
        elif what == "bit":
            first[2] ^= 1
            opened(server, first)
        elif what == "about":
            opened(server, first, b"other lengths")
        else:
            opened(ends("job shard 1 worker 1 7")[1], first)


def test_keys_change_while_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "REKEY", 3)
    worker, server = ends()
    for number in range(10):
        assert opened(server, boxed(worker, bytes([number]))) == bytes([number])
    monkeypatch.setattr(seal, "REKEY", 1 << 16)
    fixed, _ = ends()
    for _ in range(10):
        last = boxed(fixed, b"x")
    monkeypatch.setattr(seal, "REKEY", 3)
    changing, _ = ends()
    for _ in range(10):
        other = boxed(changing, b"x")
    assert last != other, "the tenth box is under another key"


def test_each_end_s_random_counts_and_must_be_whole() -> None:
    keys = session_keys(MINE, THEIRS, "a")
    assert keys[0] != keys[1]
    assert len({keys, session_keys(THEIRS, MINE, "a"), session_keys(MINE, MINE, "a")}) == 3
    for short in ((b"", THEIRS), (MINE, b"\0" * 31)):
        with pytest.raises(ProtocolError, match="32 random bytes"):
            session_keys(*short, "a")
