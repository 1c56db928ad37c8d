"""The logs of a recording: what is written comes back, whatever a death cut off."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgd.errors import UserError
from asgd.record.format import (
    MAGIC,
    AnyRecord,
    Closed,
    Ended,
    Head,
    Heard,
    Leased,
    Log,
    Pushed,
    Told,
    checksum,
    pack,
    read_log,
    unpack,
)

COUNT = st.integers(0, (1 << 63) - 1)
SMALL = st.integers(0, 300)
WORDS = st.text(max_size=300)
FACTS = st.dictionaries(WORDS, st.floats(allow_nan=False) | COUNT | st.lists(COUNT, max_size=3), max_size=3)
RECORDS: st.SearchStrategy[AnyRecord] = st.one_of(
    st.builds(Head, st.sampled_from(["shard", "worker"]), SMALL, COUNT),
    st.builds(Pushed, SMALL, COUNT, SMALL, st.integers(0, (1 << 32) - 1)),
    st.builds(Told, SMALL, SMALL),
    st.builds(Closed, COUNT, SMALL, st.lists(SMALL, max_size=5), st.booleans(), FACTS, FACTS),
    st.builds(Leased, SMALL, COUNT, COUNT, st.booleans(), st.booleans()),
    st.builds(Heard, st.lists(st.tuples(WORDS, st.lists(COUNT, max_size=200)), max_size=3)),
    st.builds(Ended),
)


@given(st.lists(RECORDS, max_size=10))
def test_records_come_back_as_they_were_written(records: list[AnyRecord]) -> None:
    assert unpack(MAGIC + b"".join(map(pack, records))) == records


@given(st.lists(RECORDS, min_size=1, max_size=5), st.data())
def test_a_log_that_was_cut_off_anywhere_keeps_its_whole_records(
    records: list[AnyRecord], data: st.DataObject
) -> None:
    frames = [pack(record) for record in records]
    whole = MAGIC + b"".join(frames)
    end = data.draw(st.integers(len(MAGIC), len(whole)))
    fits = [sum(map(len, frames[: count + 1])) + len(MAGIC) <= end for count in range(len(frames))]
    assert unpack(whole[:end]) == records[: sum(fits)]


def test_a_push_takes_a_few_bytes() -> None:
    assert len(pack(Pushed(3, 1000, 0, (1 << 32) - 1))) + len(pack(Told(3, 0))) <= 22
    assert len(pack(Heard([("", [1, 0, 50_000]), ("", [1, 0, 50_000])]))) <= 20


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "its first line is not a recording's"),
        (b"PK\x03\x04", "its first line is not a recording's"),
        (MAGIC, "its head is missing"),
        (MAGIC + pack(Told(1, 2)), "its head is missing"),
        (MAGIC + pack(Head("shard", 0, 1)) + b"\x02\x91\x7f", "byte 28 begins no record"),
        (MAGIC + b"\x03\xff\xff\xff", "byte 17 begins no record"),
    ],
)
def test_a_file_that_is_no_log_is_refused_in_one_sentence(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "shard-0-1.log"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_log(path)
    assert str(caught.value).startswith(f"{path} is damaged: {why}")


def test_a_log_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "shard-0-1.log"
    path.write_bytes(b"asgd-recording 1\n" + pack(Head("shard", 0, 1)))
    with pytest.raises(UserError, match=r"was recorded by another version of asgd, which must replay it$"):
        read_log(path)


def test_each_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "worker-1-5.log"
    log = Log(path, Head("worker", 1, 5))
    assert read_log(path) == [Head("worker", 1, 5)]
    log.add(Leased(0, 0, 32))
    assert read_log(path)[1:] == [Leased(0, 0, 32)]
    log.close()
    log.add(Ended())
    assert len(read_log(path)) == 2


def test_a_disk_that_cannot_be_written_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    log = Log(tmp_path / "file" / "shard-0-1.log", Head("shard", 0, 1))
    log.add(Ended())
    full = Log(Path("/dev/full"), Head("shard", 0, 1))
    full.add(Ended())


def test_a_checksum_sees_both_ends_and_the_middle_of_a_payload() -> None:
    payload = np.zeros(10_000, np.float32)
    known = {checksum(payload)}
    for place in (0, 5_000, 9_999):
        changed = payload.copy()
        changed[place] = 1
        known.add(checksum(changed))
    assert len(known) == 4
    short = np.arange(700, dtype=np.float32)
    assert checksum(short) == zlib.crc32(short.tobytes())
    assert checksum(None) == 0
