"""What a shard keeps in memory: whole or not there, of the newest version, of one run, safe from replaced servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from asgd.algorithms.registry import strategy
from asgd.errors import Fenced
from asgd.kernel import F32
from asgd.server.saves import in_memory as memory
from asgd.server.saves.in_memory import Memory, read
from asgd.server.shard import Shard
from asgd.spec import load_job
from asgd.wire.lanes import shm

SIZE = 3_000_000
HERE = Path(__file__)


def make(folder: Path, term: int, run: str = "run") -> tuple[Shard, Memory]:
    """A shard whose weights are all as high as its version, and its memory."""
    job = folder / "job.yaml"
    text = "{apiVersion: asgd.dev/v1alpha1, kind: AsgdJob, metadata: {name: m}, spec: {entrypoint: 'a:b'}}"
    job.write_text(text, encoding="utf-8")
    spec = load_job(str(job), ["optimizer.momentum=0.9"]).spec
    shard = Shard(spec, strategy("asgd").server(spec), 0, 1, term)
    return shard, Memory(folder, shard, run)


def advance(shard: Shard, version: int) -> None:
    if shard.size is None:
        shard.allocate(SIZE, "layout")
    shard.ready = True
    shard.state.version = version
    for array in shard.arrays().values():
        array[:] = version


def test_the_newest_copy_comes_back_with_its_bookkeeping(tmp_path: Path) -> None:
    shard, kept = make(tmp_path, 1)
    for version in (3, 4, 5):
        advance(shard, version)
        assert kept.due(time.monotonic() + 60)
        kept.keep({"updates": version})
        assert not kept.due(time.monotonic() + 60), "nothing is new"
    later, _ = make(tmp_path, 2)
    found = memory.newest(tmp_path, 0, 1, "run")
    assert found is not None and found.job == {"updates": 5}
    later.restore(found.size, found.layout, found.arrays, found.meta)
    assert later.state.version == 5
    assert set(later.arrays()) == {"weights", *later.strategy.slots} != {"weights"}
    assert all((array == 5).all() for array in later.arrays().values())


def test_a_copy_of_another_run_or_shard_count_is_not_taken(tmp_path: Path) -> None:
    shard, kept = make(tmp_path, 1)
    advance(shard, 3)
    kept.keep(None)
    assert memory.newest(tmp_path, 0, 1, "another") is None
    assert memory.newest(tmp_path, 0, 2, "run") is None


def test_a_replaced_server_keeps_nothing_more(tmp_path: Path) -> None:
    shard, kept = make(tmp_path, 1)
    advance(shard, 3)
    later, again = make(tmp_path, 2)
    with pytest.raises(Fenced, match="term 1 was replaced by term 2"):
        kept.keep(None)
    advance(later, 4)
    again.keep(None)
    assert {read(path).meta["version"] for path, _ in memory._files(tmp_path, 0, 1) if read(path)} == {4}  # type: ignore[union-attr]


def test_without_room_nothing_is_kept_and_the_server_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shard, kept = make(tmp_path, 1)
    advance(shard, 3)
    monkeypatch.setattr(memory, "_available", lambda: 7 * SIZE)
    kept.keep(None)
    assert kept.off and not kept.due(time.monotonic() + 60) and memory.newest(tmp_path, 0, 1, "run") is None
    assert "no room" in capsys.readouterr().out


def keep_until_killed(folder: str, piece: int) -> None:
    """A process that dies by SIGKILL in the middle of piece number `piece` of its third copy."""
    shard, kept = make(Path(folder), 1)
    for version in (1, 2):
        advance(shard, version)
        kept.keep(None)
    advance(shard, 3)
    whole, pieces = memory._write_all, iter(range(10))

    def halfway(descriptor: int, data: memoryview, at: int) -> int:
        if next(pieces) == piece:
            whole(descriptor, data[: len(data) // 2], at)
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(descriptor, data, at)

    memory._write_all = halfway
    kept.keep(None)


@pytest.mark.parametrize("piece", [0, 1, 2])
def test_a_process_killed_while_it_copies_leaves_a_whole_copy(tmp_path: Path, piece: int) -> None:
    body = f"test_memory.keep_until_killed({str(tmp_path)!r}, {piece})"
    code = f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); import test_memory; {body}"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert [read(path) for path, _ in memory._files(tmp_path, 0, 1)].count(None) == 1, "one copy is torn"
    found = memory.newest(tmp_path, 0, 1, "run")
    assert found is not None and found.meta["version"] == 2
    assert len(found.arrays) == 2
    assert all((array == 2).all() for array in found.arrays.values())


def test_the_folder_of_a_killed_run_is_swept_away_and_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGD_SHM", str(tmp_path))
    living = shm.Keep()
    assert living.path
    code = "from asgd.wire.lanes import shm; k = shm.Keep(); print(k.path, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    shm.sweep()
    assert path.is_dir()
    process.kill()
    process.communicate()
    shm.sweep()
    assert not path.exists() and living.path.is_dir()
    living.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", [5000, 4096 + 4 * SIZE + 9, -40, 12])
def test_a_flipped_bit_in_a_copy_is_noticed_and_the_other_copy_is_taken(
    tmp_path: Path, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shard, kept = make(tmp_path, 1)
    for version in (3, 4):
        advance(shard, version)
        kept.keep(None)
    with (tmp_path / "shard-0-of-1-term-1-b").open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 2]))
    found = memory.newest(tmp_path, 0, 1, "run")
    assert found is not None and found.meta["version"] == 3
    assert "is of no use" in capsys.readouterr().out


def test_each_bit_of_an_array_counts_in_its_checksum_whatever_its_length() -> None:
    for size in (0, 1, 2, 7):
        array = np.arange(size, dtype=np.float32)
        sums = {memory.word_sum(array)}
        for bit in range(32 * size):
            array.view(np.uint8)[bit // 8] ^= 1 << bit % 8
            sums.add(memory.word_sum(array))
            array.view(np.uint8)[bit // 8] ^= 1 << bit % 8
        assert len(sums) > 32 * size * (size < 3), f"{size} elements"
        assert memory.word_sum(array) in sums


def test_the_checksum_counts_in_the_share_of_time_that_copies_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, kept = make(tmp_path, 1)
    advance(shard, 3)
    slow = memory.word_sum

    def sum_slowly(array: F32) -> int:
        time.sleep(0.05)
        return slow(array)

    monkeypatch.setattr(memory, "word_sum", sum_slowly)
    kept.keep(None)
    advance(shard, 4)
    assert not kept.due(time.monotonic() + 0.9 * memory.SHARE * 2 * 0.05), "of two arrays"
