"""Shared memory: used only where both ends see it, trusted only chunk by announced chunk, gone with its maker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from asgd.wire.lanes import shm
from asgd.wire.lanes.bulk import BulkLane
from asgd.wire.messages import Exchange, Hello, Reply, Welcome, encode
from asgd.wire.partition import CHUNK
from tests.unit.server.rig import RATE, Rig

SIZE = 3 * CHUNK + 5


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setenv("ASGD_SHM", str(folder))
    return folder


def test_both_ends_see_the_same_vectors(place: Path) -> None:
    mine = shm.make(100)
    assert mine is not None
    theirs = shm.open_segment(mine.path.name, mine.token, 100)
    assert theirs is not None
    mine.push[:] = 1.5
    theirs.pull[99] = 2.5
    assert (theirs.push == 1.5).all() and mine.pull[99] == 2.5
    assert place.stat().st_ino == mine.path.parent.stat().st_ino
    assert mine.path.stat().st_mode & 0o077 == 0


def test_a_segment_that_is_not_surely_the_peer_s_is_not_opened(place: Path, tmp_path: Path) -> None:
    mine = shm.make(100)
    assert mine is not None
    name, token = mine.path.name, mine.token
    (place / f"asgd-{'a' * 32}.segment").symlink_to(mine.path)
    (tmp_path / name).write_bytes(mine.path.read_bytes())
    (place / f"asgd-{'b' * 32}.segment").mkdir()
    assert shm.open_segment(name, os.urandom(shm.TOKEN), 100) is None
    assert shm.open_segment(name, b"", 100) is None
    assert shm.open_segment(name, token, 101) is None
    for other in (f"../{name}", f"asgd-{'a' * 32}.segment", f"asgd-{'b' * 32}.segment", "asgd-1.segment", ""):
        assert shm.open_segment(other, token, 100) is None
    assert shm.open_segment(name, token, 100) is not None


def test_without_a_folder_or_room_there_is_no_segment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shm.make(1 << 50) is None
    assert list(place.iterdir()) == []
    monkeypatch.setenv("ASGD_SHM", str(place / "nowhere"))
    assert shm.make(100) is None


MOUNTS = """\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:40 / /memory rw,relatime shared:3 - tmpfs none rw
3 1 0:41 / /far\\040away rw - nfs4 server:/x rw
4 3 0:42 / /far\\040away/near rw - tmpfs none rw
5 1 0:43 / /twice rw - tmpfs none rw
6 1 0:44 / /twice rw - fuse.sshfs x: rw
"""


@pytest.mark.parametrize(
    ("folder", "local"),
    [
        ("/", True),
        ("/memory", True),
        ("/memory/below", True),
        ("/far away", False),
        ("/far away/near", True),
        ("/far", True),
        ("/twice", False),
    ],
)
def test_memory_is_shared_only_in_file_systems_that_no_other_machine_writes_to(
    monkeypatch: pytest.MonkeyPatch, folder: str, local: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: MOUNTS)
    assert shm.is_local(Path(folder)) is local


def test_where_another_machine_may_write_nothing_is_made_and_nothing_opened(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shm.make(100)
    assert mine is not None
    monkeypatch.setattr(shm, "LOCAL", frozenset({"nfs4"}))
    assert shm.make(100) is shm.make_weights(100) is None
    assert shm.open_segment(mine.path.name, mine.token, 100) is None
    assert list(place.iterdir()) == [mine.path]


MAKES_ONE = "from asgd.wire.lanes import shm; s = shm.make(100); print(s.path, flush=True); input()"


def test_the_segment_of_a_dead_process_is_removed_and_that_of_a_living_one_is_not(place: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MAKES_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    paths = [Path(child.stdout.readline().strip()) for child in children if child.stdout]
    (place / "another's").touch()
    children[0].kill()
    children[0].wait()
    shm.sweep()
    assert [path.exists() for path in paths] == [False, True]
    assert (place / "another's").exists()
    children[1].kill()
    children[1].wait()


def test_servers_that_do_not_see_the_memory_are_reached_by_a_stream(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rig(tmp_path, "shm", SIZE) as rig:
        channel = rig.worker()
        lane = channel.lane
        lane._offers = ("shm", "tcp")  # type: ignore[attr-defined]
        (tmp_path / "other").mkdir()
        monkeypatch.setenv("ASGD_SHM", str(tmp_path / "other"))
        channel.hello(time.monotonic())
        rig.until(lambda: channel.joined)
        assert lane.name == "tcp"
        pulled = np.zeros(SIZE, np.float32)
        rig.exchange(channel, 1, np.ones(SIZE, np.float32), pulled)
        rig.until(lambda: not channel.busy)
        assert (pulled == 1 - RATE).all()


def test_the_second_answer_to_a_pull_never_lands_in_memory_that_a_worker_computes_with(
    tmp_path: Path,
) -> None:
    with Rig(tmp_path, "shm", SIZE) as rig:
        worker = rig.joined()
        into = rig.memory(worker)
        worker.start(None, _meta(), into, time.monotonic())
        rig.until(lambda: not worker.busy)
        assert (into == 1).all()
        rig.exchange(worker, 1, np.ones(SIZE, np.float32), into)
        rig.until(lambda: not worker.busy)
        into[:] = 7
        connection = rig.connection()
        weights = np.full(CHUNK, 3, np.float32)
        connection.send(Reply(1, 9, 0, 1, "pulled", codec="fp32"), weights)
        rig.step()
        assert (into == 7).all()


def _meta() -> object:
    from asgd.worker.sending.headers import PushHeader

    return PushHeader()


def test_chunks_beyond_the_shard_or_without_shared_memory_get_a_fault(tmp_path: Path) -> None:
    with Rig(tmp_path, "shm", SIZE) as rig:
        worker = rig.joined()
        stream = worker.lane._stream  # type: ignore[attr-defined]
        for chunk in (4, 1 << 40):
            stream.send(encode(Exchange(0, 1, 1, chunk, 0, 8, 1, True, True, shared=True)))
            while not (arrived := worker.lane.receive()):
                rig.service.step()
            assert arrived[0].code == "protocol"  # type: ignore[union-attr]
        assert rig.service.core.shard.state.version == 0
    (tmp_path / "second").mkdir()
    with Rig(tmp_path / "second", "tcp", SIZE) as rig:
        worker = rig.joined()
        stream = worker.lane._stream  # type: ignore[attr-defined]
        stream.send(encode(Exchange(0, 1, 1, 0, 0, 8, 1, True, True, shared=True)))
        while not (arrived := worker.lane.receive()):
            rig.service.step()
        assert arrived[0].code == "protocol"  # type: ignore[union-attr]


DIES = """
import os, signal, sys, time
import numpy as np
from asgd.host.env import read_config
from asgd.spec.types import Codec
from asgd.worker.sending.centre import open_centre
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from asgd.wire.messages import Exchange, encode
from asgd.wire.partition import CHUNK

size = int(sys.argv[1])
config = read_config()
who = PeerIdentity(
    job="check", role="worker", index=1, incarnation=config.incarnation, size=size, layout="layout"
)
centre = open_centre(config.servers, None, who, Codec())
centre.join()
assert {channel.lane.name for channel in centre.channels} == {"shm"}
push = centre.segment.push
push[:] = 1
centre.exchange(push, None, PushHeader(sequence=1, samples=8, steps=1, loss=0.5))
push[size // 2 :] = 2
channel = centre.channels[0]
channel.lane._stream.send(encode(
    Exchange(1, config.incarnation, 2, 0, channel.reached.version, 8, 1, False, True, shared=True)))
push[: size // 2] = np.nan
push[size // 2 : -CHUNK] = 1e30
print(centre.segment.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_killed_in_the_middle_of_a_write_leaves_what_it_announced_and_nothing_else(
    tmp_path: Path,
) -> None:
    from tests.checks.processes import Processes, push_of
    from tests.unit.server import lane_workers

    spec = {
        "entrypoint": "nobody:asks",
        "optimizer": {"learningRate": 0.25},
        "stopAfter": {"updates": 1000},
        "parameterServer": {"shards": 1},
    }
    with Processes(tmp_path / "run", spec) as run:
        other = lane_workers.centre(run, 0, SIZE)
        other.join(lambda: np.zeros(SIZE, np.float32))
        child = subprocess.run(
            [sys.executable, "-c", DIES, str(SIZE)],
            env=os.environ | run.environment(1),
            stdout=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL
        left = Path(child.stdout.strip())
        pulled = np.zeros(SIZE, np.float32)
        lane_workers.until(lambda: not left.exists())
        other.exchange(np.full(SIZE, 4, np.float32), pulled, push_of(other))
        assert pulled[-CHUNK:].tolist() == [-0.25 - 0.5 - 1] * CHUNK
        assert (pulled[:-CHUNK] == -0.25 - 1).all()
        other.leave()
    assert list((tmp_path / "shm").iterdir()) == []


def test_a_hello_that_names_no_memory_is_welcomed_to_another_lane(tmp_path: Path) -> None:
    with Rig(tmp_path, "tcp", SIZE) as rig:
        assert rig.service.bulk is not None
        hello = Hello("job", "worker", 3, 1, SIZE, "layout", lanes=("shm", "zmq"), random=bytes(32))
        answer = rig.service.core.receive(b"peer", hello, None, time.monotonic())[0][1]
        assert isinstance(answer, Welcome)
        rig.service.bulk.offer(hello, answer)
        assert answer.lane == "zmq"


@pytest.mark.parametrize("algorithm", ["asgd", "dc-asgd"])
def test_weights_are_read_in_place_only_where_everybody_gets_them_as_they_are(
    tmp_path: Path, algorithm: str
) -> None:
    spec = {"exchange": {"lane": "shm", "readInPlace": True}, "algorithm": {"name": algorithm}}
    with Rig(tmp_path, "shm", SIZE, spec) as rig:
        worker = rig.joined()
        lane = worker.lane
        assert isinstance(lane, BulkLane)
        into = rig.memory(worker)
        rig.exchange(worker, 1, np.ones(SIZE, np.float32), into)
        rig.until(lambda: not worker.busy)
        assert worker.version == 1
        if algorithm == "dc-asgd":
            assert lane.weights is None
            assert (into == 1 - RATE).all()
            return
        assert lane.weights is not None
        assert (lane.weights == 1 - RATE).all() and not into.any()
        with pytest.raises(ValueError, match="read-only"):
            lane.weights[0] = 1
        rig.service.core.shard.state.weights[5] = 9
        assert lane.weights[5] == 9
    assert list((tmp_path / "shm").glob("*.weights")) == []


def test_each_hello_maps_the_weights_anew(tmp_path: Path) -> None:
    spec = {"exchange": {"lane": "shm", "readInPlace": True}}
    with Rig(tmp_path, "shm", SIZE, spec) as rig:
        worker = rig.joined()
        lane = worker.lane
        assert isinstance(lane, BulkLane) and lane.weights is not None
        before = lane.weights
        worker.hello(time.monotonic())
        rig.until(lambda: worker.joined)
        assert lane.weights is not None and lane.weights is not before
        assert (lane.weights == before).all()


def test_what_lies_in_shared_memory_is_neither_copied_there_nor_away(tmp_path: Path) -> None:
    with Rig(tmp_path, "shm", SIZE) as rig:
        worker = rig.joined()
        lane = worker.lane
        assert isinstance(lane, BulkLane) and lane._segment is not None
        push, pull = lane._segment.push, lane._segment.pull
        push[:] = 1
        # Whoever writes to them on the worker's side fails from here on; the server has a map of its own.
        push.flags.writeable = pull.flags.writeable = False
        rig.exchange(worker, 1, push, pull)
        rig.until(lambda: not worker.busy)
        assert (pull == 1 - RATE).all()
        with pytest.raises(ValueError, match="read-only"):
            rig.exchange(worker, 2, np.ones(SIZE, np.float32), pull)
