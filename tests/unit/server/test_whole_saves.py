"""A damaged checkpoint is noticed, whatever was changed in it, and the newest whole one is taken and said."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asgd import exitcodes
from asgd.errors import Damaged, Fenced, FencedByOther, TryAgain, UserError
from asgd.kernel import F32
from asgd.server.core import ServerCore
from asgd.server.saves import blocks
from asgd.server.saves.choosing import prove_found, take
from asgd.server.saves.reading import prove, read_manifest, read_range
from asgd.server.saves.restore import find
from asgd.server.saves.saver import carry_out
from asgd.server.saves.store import Store
from asgd.server.saving import CheckTerm, StoreFacts
from asgd.spec.types import Job
from asgd.wire.partition import Range
from tests.checks.harness import asgd_spec
from tests.unit.server.test_checkpoint import SIZE, numbers, write


def flip(path: Path, at: int, bit: int = 6) -> None:
    """Flips one bit of the byte at `at`, counted from the end when below zero."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def part(store: Path, number: int, shard: int = 0, shards: int = 1) -> Path:
    return store / f"{number:06d}" / f"shard-{shard}-of-{shards}.safetensors"


def job(restore: str = "Latest", shards: int = 1) -> Job:
    spec = asgd_spec(0.5, shards=shards, checkpoint={"restore": restore})
    return Job("job", "default", spec, {}, frozenset())


def begun_at(store: Path, shard: int = 0, shards: int = 1, restore: str = "Latest", run: str = "new") -> Any:
    """The number of the save from which a server begins."""
    found = find(job(restore, shards), shard, run, Store(str(store)), None)
    return found and found.number


# -- one bit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shard-0-of-1.safetensors", "manifest.json"])
def test_one_flipped_bit_anywhere_in_a_save_is_noticed_or_changes_no_value(tmp_path: Path, name: str) -> None:
    store = Store(str(tmp_path))
    manifest = write(store, 1, 1)
    path = tmp_path / "000001" / name
    good = path.read_bytes()
    whole = read_range(store.fs, store.path("000001"), manifest, Range(0, SIZE))[1]
    for at in range(0, len(good), 3):
        flip(path, at, bit=at % 8)
        try:
            read = read_manifest(store.fs, store.path("000001"))
            prove(store.fs, store.path("000001"), read)
            # NB: a key that means nothing any more leaves a field at its default; the seal itself may be such a key.
            read.crc32 = manifest.crc32
            state = read_range(store.fs, store.path("000001"), read, Range(0, SIZE))[1]
            assert state == whole, f"byte {at} of {name} changes the state"
            assert read == manifest, f"byte {at} of {name}: {good[at - 20 : at + 20]!r}"
        except Damaged:
            continue
        finally:
            path.write_bytes(good)
    prove(store.fs, store.path("000001"), manifest)


def test_a_shard_that_reads_a_part_of_a_file_proves_just_that_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ELEMENTS", 4)
    store = Store(str(tmp_path))
    manifest = write(store, 1, 1)
    flip(part(tmp_path, 1), -1)  # the last element of momentum, the second array
    for wanted in (Range(0, 5), Range(3, 14), Range(16, 16)):
        arrays, _ = read_range(store.fs, store.path("000001"), manifest, wanted)
        for name in ("weights", "momentum"):
            assert np.array_equal(arrays[name], numbers(name, 1)[wanted.start : wanted.stop])
    with pytest.raises(Damaged, match=r"checksum of momentum\[16:17\] does not match"):
        read_range(store.fs, store.path("000001"), manifest, Range(15, SIZE))


def test_files_bear_the_size_of_their_blocks_so_that_another_version_may_choose_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    monkeypatch.setattr(blocks, "ELEMENTS", 5)
    manifest = write(store, 1, 1)
    monkeypatch.setattr(blocks, "ELEMENTS", 3)
    prove(store.fs, store.path("000001"), manifest)
    assert np.array_equal(
        read_range(store.fs, store.path("000001"), manifest, Range(2, 11))[0]["weights"],
        numbers("weights", 1)[2:11],
    )


def test_a_save_of_an_earlier_version_without_checksums_is_still_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, 1, 1)
    manifest = tmp_path / "000001" / "manifest.json"
    told = json.loads(manifest.read_bytes())
    del told["crc32"], told["parts"][0]["headerCrc32"]
    manifest.write_text(json.dumps(told))
    data = part(tmp_path, 1).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]["crc32"]
    text = json.dumps(header).encode().ljust(length)
    part(tmp_path, 1).write_bytes(data[:8] + text + data[8 + length :])
    assert begun_at(tmp_path) == 1


# -- which one is taken ------------------------------------------------------------------------------------


def spoil(store: Path, number: int, how: str) -> None:
    path = part(store, number)
    match how:
        case "a flipped bit":
            flip(path, -2)
        case "half a file":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "a file too long":
            path.write_bytes(path.read_bytes() + b"more")
        case "a missing file":
            path.unlink()
        case "an empty manifest":
            (store / f"{number:06d}" / "manifest.json").write_bytes(b"")
        case "an edited manifest":
            manifest = store / f"{number:06d}" / "manifest.json"
            manifest.write_text(re.sub(r'"updates": \d+', '"updates": 99', manifest.read_text()))


WAYS = ["a flipped bit", "half a file", "a missing file", "an empty manifest", "an edited manifest"]


@pytest.mark.parametrize("how", [*WAYS, "a file too long"])
def test_the_newest_whole_save_is_taken_and_what_was_skipped_is_told_with_its_reason(
    tmp_path: Path, how: str
) -> None:
    for number in (4, 5, 6):
        write(Store(str(tmp_path)), number, 1)
    spoil(tmp_path, 6, how)
    said: list[str] = []
    found = take(Store(str(tmp_path)), "Latest", "new", prove_found, said.append)
    assert found is not None and found[2].save == 5
    (line,) = said
    assert line.startswith("checkpoint 000006 is not whole and is skipped for 000005")
    assert "000006/shard-0" in line or "000006 holds no complete checkpoint" in line
    assert "manifest" in how or "(10 updates less)" in line


@pytest.mark.parametrize("how", WAYS)
def test_a_server_begins_at_the_newest_whole_save_too(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (4, 5, 6):
        write(Store(str(tmp_path)), number, 1, run="old")
    spoil(tmp_path, 6, how)
    spoil(tmp_path, 5, "a flipped bit")
    assert [begun_at(tmp_path, run=run) for run in ("new", "old")] == [4, 4]
    assert "checkpoint 000006 is not whole and is skipped for 000004" in capsys.readouterr().out


def test_all_shards_of_a_new_run_skip_a_save_of_which_one_part_is_damaged(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in (1, 2):
        write(store, number, 2, run="old")
    for shard in (0, 1):
        store.claim_term(shard)
    flip(part(tmp_path, 2, 1, 2), -1)
    assert [begun_at(tmp_path, shard, 2) for shard in (0, 1)] == [1, 1]
    # Within its run a shard comes back alone, and its own part decides.
    assert [begun_at(tmp_path, shard, 2, run="old") for shard in (0, 1)] == [2, 1]


def test_what_shards_have_skipped_becomes_one_notice_of_the_job(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in (1, 2):
        write(store, number, 2, run="old")
    for shard in (0, 1):
        store.claim_term(shard)
    flip(part(tmp_path, 2, 1, 2), -1)
    cores = []
    for index in (0, 1):
        core = ServerCore(job(shards=2), index, 2, run="new", store=StoreFacts(store.uri))
        found = find(job(shards=2), index, "new", store, None)
        assert found is not None
        core.restore(replace(found, job=None), 0.0)
        cores.append(core)
    primary, participant = cores[0].primary, cores[1].participant
    assert primary is not None and participant is not None
    primary.tell_skipped(find(job(shards=2), 0, "new", store, None).skipped)  # type: ignore[union-attr]
    primary.serve(participant.beat(0.0), 0.0)
    (notice,) = primary.coordinator.notices.newest
    assert notice.about == "checkpoint" and "checkpoint 000002 is not whole" in notice.text


def test_a_store_of_ones_own_lacks_the_others_parts_and_is_whole_nevertheless(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, 1, 2)
    store.claim_term(0)
    part(tmp_path, 1, 1, 2).unlink()
    assert begun_at(tmp_path, 0, 2) == 1


def test_where_no_save_is_whole_the_run_is_refused_rather_than_begun_anew(tmp_path: Path) -> None:
    for number in (1, 2):
        write(Store(str(tmp_path)), number, 1, run="old")
        spoil(tmp_path, number, WAYS[number])
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole: .*000002.*; .*000001") as raised:
        begun_at(tmp_path)
    assert "\n" not in str(raised.value)
    assert begun_at(tmp_path, restore="None") is None
    with pytest.raises(UserError, match="is whole"):
        begun_at(tmp_path, restore="None", run="old")


def test_a_save_that_the_user_names_is_taken_or_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        write(Store(str(tmp_path)), number, 1)
    assert begun_at(tmp_path, restore=str(tmp_path / "000001")) == 1
    spoil(tmp_path, 2, "a flipped bit")
    with pytest.raises(UserError, match="checksum of momentum"):
        begun_at(tmp_path, restore=str(tmp_path / "000002"))
    assert begun_at(tmp_path / "elsewhere", restore=str(tmp_path / "000001")) == 1


def test_a_store_that_refuses_to_be_read_is_not_taken_for_a_damaged_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        write(Store(str(tmp_path)), number, 1)
    store = Store(str(tmp_path))

    def refuse(*_: Any) -> Any:
        raise OSError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(store.fs, "open", refuse)
    with pytest.raises(UserError, match="Connection refused") as raised:
        take(store, "Latest", "new", prove_found, lambda text: None)
    assert not isinstance(raised.value, Damaged)


def test_a_save_that_is_removed_while_it_is_read_is_no_damage(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in (1, 2):
        write(store, number, 1)

    def read(found: Any) -> F32:
        store.fs.rm(found[1], recursive=True)
        return read_range(*found, Range(0, SIZE))[0]["weights"]

    with pytest.raises(TryAgain, match="000002 was removed while it was read"):
        take(store, "Latest", "", read, lambda text: None)


def test_a_server_that_another_run_replaces_says_so_with_an_exit_code_of_its_own(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    term = store.claim_term(0, "mine")
    Store(str(tmp_path)).claim_term(0, "mine")
    with pytest.raises(Fenced, match=r"replaced by term 2$") as raised:
        store.check_term(0, term)
    assert raised.value.exit_code == exitcodes.TRY_AGAIN
    Store(str(tmp_path)).claim_term(0, "theirs")
    outcome = carry_out(store, CheckTerm(0, term))
    assert outcome.fenced and outcome.foreign and "replaced by term 3, of another run" in outcome.error
    with pytest.raises(FencedByOther) as other:
        store.check_term(0, term)
    assert other.value.exit_code == exitcodes.FENCED
