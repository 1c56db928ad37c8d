"""`kubectl asgd replay`: what a job's pods have left on claims is copied here and executed again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asgd.client import recording as client
from asgd.client.cli import main
from asgd.record import pods
from asgd.record import run as recording
from asgd.server.saves.store import Store
from asgd.spec import load_job
from asgd.spec.live import split
from asgd.spec.load import job_from_json
from tests.local.run import HERE, Run
from tests.local.test_replay import noisy
from tests.unit.client.cluster import Cluster, Document, ended, job, pod

pytestmark = pytest.mark.slow
Printed = pytest.CaptureFixture[str]
TEMPLATE = {"spec": {"template": {"spec": {"containers": [{"name": "asgd", "image": "slim"}]}}}}
SERVERS = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "digits-server"}, **TEMPLATE}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with noisy(tmp_path_factory.mktemp("job"), workers=2, epochs=2, size=200) as found:
        assert found.wait() == 0, found.words()
    return found


def recorded(run: Run, **more: Any) -> Document:
    """The job as the API server has it when it is complete."""
    store = Store(str(run.output / "checkpoints"), make=False)
    found = ended(**more)
    found["metadata"]["uid"] = store.manifest(store.saves()[-1]).run
    found["spec"] |= {
        "entrypoint": "tasks:noisy",
        "record": {"pvc": "logs"},
        "checkpoint": {"uri": "file:///checkpoints", "volume": {"pvc": "models"}},
    }
    return found


class Claims(Cluster):
    """With two claims: what pods of `run` have written on them is read by the scripts that a helper pod runs."""

    def __init__(self, run: Run, folder: Path, *documents: Document) -> None:
        super().__init__(SERVERS, *documents)
        self.run, self.folder, self.packed = run, folder, self._packed

    def call(self, method: str, path: str, **options: Any) -> Any:
        if method == "POST":
            options["body"]["status"] = {"phase": "Running"}
        return super().call(method, path, **options)

    def _packed(self, pod: str, command: Sequence[str]) -> Iterator[bytes]:
        _, _, script, root, *rest = command
        place = self.run.output / "checkpoints" if root == "/checkpoints" else self._logs(root)
        words = [sys.executable, "-c", script, str(place), *rest]
        yield subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout

    def _logs(self, root: str) -> Path:
        """As pods leave them in the folder that the operator names."""
        uid = next(each for each in self.objects.values() if each["kind"] == "AsgdJob")["metadata"]["uid"]
        assert root == f"/recording/replay/digits-{uid}"
        if self.folder.exists() or self.run.output is None:
            return self.folder
        self.folder.mkdir()
        for path in (self.run.output / "replay").glob("*.log"):
            (self.folder / path.name).write_bytes(path.read_bytes())
        document = load_job(self.run.output / "job.yaml").document
        frozen, _ = split(document["spec"])
        pods.leave_job(self.folder, job_from_json(msgspec.json.encode({**document, "spec": frozen})))
        threads = int(recording.read(self.run.output / "replay").threads)
        for path in self.folder.glob("worker-*.log"):
            _, index, incarnation = path.stem.split("-")
            pods.leave_process(self.folder, int(index), int(incarnation), threads)
        return self.folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's code is in the current directory."""
    monkeypatch.chdir(HERE)


def test_logs_and_last_checkpoint_are_copied_by_one_pod_and_the_job_is_executed_again(
    run: Run, tmp_path: Path, here: None, capfd: Printed
) -> None:
    cluster, target = Claims(run, tmp_path / "claim", recorded(run)), tmp_path / "again"
    words = ["replay", "digits", "--to", str(target), "--json"]
    assert main(words, cluster.access) == 0, capfd.readouterr()
    said = capfd.readouterr()
    told = json.loads(said.out)
    assert (told["equal"], told["weightsSha256"]) == (True, run.summary().weights_sha256)
    assert f"asgd replay {target} replays it again" in said.err
    (made,) = (body for method, _, body in cluster.asked if method == "POST")
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in made["spec"]["volumes"]]
    assert claims == ["logs", "models"]
    assert not any("/pods/" in place for place in cluster.objects), "the helper pod is deleted"
    # Again, into the same folder, and no further than an update.
    assert main([*words, "--until", "7"], cluster.access) == 0
    assert json.loads(capfd.readouterr().out)["updates"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "claim"], "no copy is left"


def test_weights_of_another_run_in_the_store_are_not_what_the_replay_has_to_come_to(
    run: Run, tmp_path: Path
) -> None:
    document = recorded(run)
    document["metadata"]["uid"] = "another"
    cluster = Claims(run, tmp_path / "claim", document)
    client.fetch(cluster.access(), document, tmp_path / "again", print)
    told = recording.read(tmp_path / "again" / "replay")
    assert (told.save, told.weights, told.not_replayable) == (0, "", "")


def refused(cluster: Cluster, *words: str) -> int:
    return main(["replay", "digits", *words], cluster.access)


def test_what_is_no_recording_of_a_whole_job_is_refused_before_anything_is_copied(
    run: Run, tmp_path: Path, here: None, capfd: Printed
) -> None:
    running = job()
    running["spec"]["record"] = {"pvc": "logs"}
    kept = recorded(run)
    kept["spec"]["runPolicy"]["cleanPodPolicy"] = "None"
    for document, sentence in (
        (
            ended(),
            "digits was not recorded; a job is recorded that was sent with a claim for it: kubectl asgd submit",
        ),
        (running, "digits has not ended, and its recording is whole only then: kubectl asgd wait digits"),
        (kept, "digits has runPolicy.cleanPodPolicy None, so its servers run on"),
    ):
        cluster = Cluster(document)
        assert refused(cluster) == 2
        (said,) = capfd.readouterr().err.splitlines()
        assert said.startswith(f"error: {sentence}")
        assert all(method == "GET" for method, _, _ in cluster.asked)
    (tmp_path / "mine").mkdir()
    assert refused(Claims(run, tmp_path / "claim", recorded(run)), "--to", str(tmp_path / "mine")) == 2
    assert "mine is there already, and is no recording" in capfd.readouterr().err


def test_what_the_logs_say_against_a_replay_is_said_in_the_words_of_asgd_run(
    run: Run, tmp_path: Path, here: None, capfd: Printed
) -> None:
    cluster = Claims(run, tmp_path / "claim", recorded(run))
    (tmp_path / "claim").mkdir()
    assert refused(cluster, "--to", str(tmp_path / "again")) == 2
    assert "cannot be replayed: the recording is empty: shard 0 could not write" in capfd.readouterr().err
    (tmp_path / "claim").rmdir()
    next(
        iter(
            cluster.packed("", ["", "", "", f"/recording/replay/digits-{recorded(run)['metadata']['uid']}"])
        ),
        None,
    )
    next((tmp_path / "claim").glob("shard-1-*.log")).write_bytes(b"")
    assert refused(cluster, "--to", str(tmp_path / "again")) == 2
    assert capfd.readouterr().err.splitlines()[-1].endswith("is damaged: its first line is not a recording's")
    next((tmp_path / "claim").glob("shard-1-*.log")).unlink()
    assert refused(cluster, "--to", str(tmp_path / "again")) == 2
    assert f"error: digits cannot be replayed: {recording.INCOMPLETE}\n" in capfd.readouterr().err
    assert not (tmp_path / "again").exists()


def test_the_end_of_the_servers_is_awaited_and_not_for_ever(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_GONE_SECONDS", 0.5)
    document = recorded(run)
    cluster, said = Claims(run, tmp_path / "claim", document, pod("server")), list[str]()
    client.fetch(cluster.access(), document, tmp_path / "again", said.append)
    assert said[0] == "waiting    at most 0 s for the end of the servers of digits"
    assert recording.read(tmp_path / "again" / "replay").weights == run.summary().weights_sha256
