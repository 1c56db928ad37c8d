"""The page beside shard 0, on a cluster: whatever becomes of the shard is stated on it, and nothing ends it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import zmq

from asgd.errors import ProtocolError, TryAgain, UserError, VersionMismatch
from asgd.page import asking, beside, record, serving
from asgd.page.about import about_pods
from asgd.page.asking import Beside
from asgd.page.model import LATE_PAGE
from asgd.page.serving import Door
from asgd.spec import job_from_json
from asgd.spec.environment import Env
from asgd.spec.status import Status
from asgd.wire.messages import Done, decode, encode
from tests.unit.page.jobs import Pretended
from tests.unit.page.test_serving import get

JOB = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "metadata": {"name": "digits", "namespace": "train"},
    "spec": {"entrypoint": "asgd.examples.digits:task", "exchange": {"staleness": {"max": 12}}},
}
SILENT = TryAgain("silence")


class Told:
    """An asker, and what it is answered next."""

    answer: Any = SILENT

    def ask(self, *_: object) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Done(self.answer if isinstance(self.answer, bytes) else msgspec.json.encode(self.answer))


class Pod:
    """A page whose seconds are counted by hand."""

    def __init__(
        self, folder: Path, clock: list[float], run: str = "uid-1", live: Path | None = None
    ) -> None:
        config: Any = SimpleNamespace(
            job=job_from_json(json.dumps(JOB).encode()), run=run, live=live, servers=("ipc://x",), keys=None
        )
        self.clock, self.shard = clock, Told()
        self.beside = Beside(config, folder, Door("127.0.0.1:0", "a-token", Env.PAGE, asking.AGAIN))

    def second(self, answer: Any, times: int = 1) -> dict[str, Any]:
        """So many seconds, in each of which shard 0 is asked; the page after them."""
        self.shard.answer = answer
        for _ in range(times):
            self.clock[0] += 1.0
            self.beside.ask(self.shard)  # type: ignore[arg-type]
            self.beside.serving.look()
        return self.shown

    @property
    def shown(self) -> dict[str, Any]:
        return self.beside.serving.model.snapshot()

    def gone(self) -> None:
        self.beside.serving.close(over=False)
        record.write(self.beside.serving.model, self.beside.serving._folder)


def texts(page: dict[str, Any]) -> list[str]:
    return [finding["text"] for finding in page["say"]["findings"]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(serving, "time", SimpleNamespace(monotonic=lambda: now[0], time_ns=lambda: 1))
    return now


@pytest.fixture
def pod(tmp_path: Path, clock: list[float]) -> Iterator[Callable[..., Pod]]:
    made: list[Pod] = []

    def make(**how: Any) -> Pod:
        made.append(Pod(tmp_path, clock, **how))
        return made[-1]

    yield make
    for each in made:
        each.beside.serving.close(over=False)


def test_a_shard_that_is_not_there_yet_is_waited_for_and_said_to_be(pod: Callable[..., Pod]) -> None:
    page = pod()
    told = page.second(SILENT, times=9)
    assert told["say"]["line"].endswith("its servers are starting, shard 0 has not answered for 8 s.")
    assert page.second(b"{}")["say"]["line"].startswith("Nothing is known of the job yet")
    assert page.second(Pretended().status(4.0))["say"]["line"].startswith("It trains")


def test_while_a_shard_is_started_again_the_page_says_so_and_then_that_it_came_back(
    pod: Callable[..., Pod],
) -> None:
    page, job = pod(), Pretended(shards=1)
    page.second(job.status(20.0))
    assert texts(page.second(SILENT, times=8)) == ["Shard 0 has not answered for 6 s"]
    back = msgspec.structs.replace(job.status(21.0), terms=[2])
    told = page.second(back)
    assert "Shard 0 has not answered" not in " ".join(texts(told))
    assert any(moment["kind"] == "term" for moment in told["moments"])


@pytest.mark.parametrize(
    "answer", [b"\xff\xfe garbage", b'{"updates": "many"}', VersionMismatch("peer speaks protocol 9")]
)
def test_an_answer_that_cannot_be_read_is_stated_until_one_can(pod: Callable[..., Pod], answer: Any) -> None:
    page = pod()
    (said,) = texts(page.second(answer))
    assert said.startswith("What shard 0 answers cannot be read: ")
    page.second(Pretended().status(20.0))
    told = page.second(answer, times=9)
    assert texts(told)[0].startswith("What shard 0 answers cannot be read: ")
    assert not any("has not answered" in text for text in texts(told))
    assert "cannot be read" not in " ".join(texts(page.second(Pretended().status(21.0))))


def test_when_the_job_is_over_nothing_is_told_any_more_and_the_page_stays(
    pod: Callable[..., Pod], tmp_path: Path
) -> None:
    page, job = pod(), Pretended(seconds=30)
    for t in range(25, 31):
        page.second(job.status(float(t)))
    rows = len(page.shown["columns"]["t"])
    told = page.second(job.status(31.0), times=5)
    assert told["over"] and told["say"]["line"].startswith("It is done after ")
    assert len(told["columns"]["t"]) <= rows + 1
    assert not page.beside.serving.closed
    left = record.read(tmp_path)
    assert left is not None and left["over"]


def test_a_page_of_the_same_job_goes_on_where_it_was(pod: Callable[..., Pod]) -> None:
    before, job = pod(), Pretended(seconds=200, happenings={1: (8.0, "dies")}, away=6.0)
    for t in range(20):
        before.second(job.status(float(t)))
    before.gone()
    assert not before.beside.serving.over
    lives = before.shown["lives"]["1"]
    after = pod()
    record_of = record.read(after.beside.serving._folder)
    assert record_of is not None
    record.resume(after.beside.serving.model, record_of, asking.AGAIN)
    told = after.second(job.status(21.0))
    assert any(moment["text"] == asking.AGAIN for moment in told["moments"])
    assert [life[3] for life in told["lives"]["1"]] == [life[3] for life in lives] == ["lost", "running"]
    assert told["lives"]["1"][-1][2] is None
    again = [moment["text"] for moment in told["moments"]].index(asking.AGAIN)
    assert not [moment for moment in told["moments"][again:] if moment["kind"] == "joined"]
    assert len(told["columns"]["t"]) > 20


def test_a_page_that_finds_what_another_job_has_left_begins_anew(pod: Callable[..., Pod]) -> None:
    before = pod()
    before.second(Pretended().status(20.0))
    before.gone()
    after = pod(run="uid-2")
    told = record.read(after.beside.serving._folder)
    assert told is not None
    assert record.resume(after.beside.serving.model, told, asking.AGAIN) == 0.0
    assert after.shown["columns"] == {"t": []}


def test_a_page_that_comes_late_and_finds_nothing_says_that_it_begins_there(pod: Callable[..., Pod]) -> None:
    told = pod().second(msgspec.structs.replace(Pretended().status(20.0), seconds=900.0))
    assert LATE_PAGE in [moment["text"] for moment in told["moments"]]


def test_it_shows_the_job_with_its_live_fields_and_the_commands_of_a_cluster(
    pod: Callable[..., Pod], tmp_path: Path
) -> None:
    live = tmp_path / "live.json"
    live.write_text('{"stopAfter": {"epochs": 7}, "workers": {"replicas": 3, "minReplicas": null}}')
    page = pod(live=live)
    about = page.shown["about"]
    assert (about["where"], about["bound"]) == ("cluster", 12)
    assert "epochs: 7" in about["spec"] and "replicas: 3" in about["spec"] and "min" not in about["spec"]
    assert about["commands"]["status"] == "kubectl -n train get asgdjob digits -o wide"
    live.write_text('{"workers": {"replicas": 5}}')
    assert "replicas: 5" in page.second(Pretended().status(4.0))["about"]["spec"]
    live.write_text("no json")
    assert "entrypoint" in page.second(Pretended().status(5.0))["about"]["spec"]


def test_a_job_whose_secret_has_no_token_has_no_page_and_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^ASGD_PAGE_TOKEN: .* holds no token.*suspend the job"):
        asking.door({Env.PAGE_TOKEN: str(tmp_path / "page.token"), Env.PAGE: "0.0.0.0:0"})


def test_what_is_wrong_with_the_container_s_own_part_is_said_and_tried_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking.serve({}, threading.Event())
    assert "there is no page, and training goes on without it: ASGD_JOB: not set" in capsys.readouterr().out
    monkeypatch.setattr(asking, "read_config", lambda env: 1 / 0)
    asking.serve({}, threading.Event())
    assert "the page has failed, and training goes on without it" in capsys.readouterr().out


class Shard(threading.Thread):
    """Shard 0 as others hear it: it answers what is in `told`, one after the other, the last again and again."""

    def __init__(self, endpoint: str, told: list[tuple[float, bytes]]) -> None:
        super().__init__(daemon=True)
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(endpoint)
        self._told, self.stopped = told, threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            if self._socket.poll(50):
                sender, frame = self._socket.recv_multipart()
                decode(frame)
                seconds, answer = self._told.pop(0) if len(self._told) > 1 else self._told[0]
                self.stopped.wait(seconds)
                self._socket.send_multipart([sender, answer])
        self._context.destroy(linger=0)


def test_it_serves_with_the_job_s_token_what_a_late_a_broken_and_a_slow_shard_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    (tmp_path / "page.token").write_text("of-the-secret\n")
    endpoint = f"ipc://{tmp_path}/s"
    env = {
        Env.JOB: str(tmp_path / "job.json"), Env.INDEX: "0", Env.SERVERS: endpoint, Env.RUN: "uid-1",
        Env.PAGE: "0.0.0.0:0", Env.PAGE_TOKEN: str(tmp_path / "page.token"), Env.PAGE_FOLDER: str(tmp_path),
    }  # fmt: skip
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.05)
    ended = threading.Event()
    page = threading.Thread(target=asking.serve, args=(env, ended))
    page.start()
    status: Status = Pretended().status(20.0)
    good = encode(Done(msgspec.json.encode(status)))
    shard = Shard(endpoint, [(0.0, b"garbage"), (0.0, encode(Done(b"[]  "))), (0.2, good), (0.0, good)])
    try:
        for _ in range(200):
            if "page at http://" in (said := capsys.readouterr().out):
                break
            ended.wait(0.05)
        port = said.partition("page at http://")[2].partition("/")[0].rpartition(":")[2]
        assert "of-the-secret" not in said
        url = f"http://127.0.0.1:{port}/"
        assert get(f"{url}state")[0] == 403 and get(f"{url}?token=wrong")[0] == 403
        jar = serving_cookies(url)
        assert "its servers are starting" in jar("state")
        shard.start()
        for _ in range(100):
            if "It trains" in (told := jar("state")):
                break
            ended.wait(0.1)
        assert "It trains" in told
    finally:
        ended.set()
        page.join(30)
        shard.stopped.set()
    assert not page.is_alive()
    left = record.read(tmp_path)
    assert left is not None and not left["over"] and left["about"]["run"] == "uid-1"
    assert not (tmp_path / "page.address").exists()


def serving_cookies(url: str) -> Callable[[str], str]:
    """Reads a path below `url` as a browser that has opened it with the token."""
    import urllib.request

    jar = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert jar.open(f"{url}?token=of-the-secret", timeout=60).status == 200
    return lambda path: jar.open(url + path, timeout=60).read().decode()


def test_beside_another_shard_than_0_it_is_a_shell_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    class Replaced(Exception):
        pass

    def execute(program: str, words: tuple[str, ...]) -> None:
        called.append((program, words))
        raise Replaced

    monkeypatch.setattr(beside.os, "execvp", execute)
    with pytest.raises(Replaced):
        beside.main({Env.INDEX: "1"})
    ((program, words),) = called
    assert program == "sh"
    import subprocess

    shell = subprocess.Popen(words)
    with pytest.raises(subprocess.TimeoutExpired):
        shell.wait(0.5)
    shell.terminate()
    assert shell.wait(10) == 0


def test_what_a_shard_tells_is_a_protocol_error_where_it_is_no_status() -> None:
    from asgd.wire.ask import status_of

    with pytest.raises(ProtocolError, match=r"^malformed status: "):
        status_of(Done(b'{"updates": []}'))


@pytest.mark.parametrize(
    ("workers", "command"),
    [
        ({}, "kubectl -n train scale asgdjob digits --replicas=8"),
        (
            {"autoscale": {"min": 1, "max": 4}},
            "kubectl -n train patch asgdjob digits --type=merge -p "
            """'{"spec":{"workers":{"autoscale":{"max":8}}}}'""",
        ),
    ],
)
def test_the_command_for_more_workers_is_one_that_the_api_server_takes(
    workers: dict[str, Any], command: str
) -> None:
    document = JOB | {"spec": {"entrypoint": "asgd.examples.digits:task", "workers": workers}}
    about = about_pods(job_from_json(json.dumps(document).encode()), "uid-1", "")
    assert about.commands["workers"] == command
