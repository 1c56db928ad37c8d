"""Where a job's checkpoints are decides how its model comes here."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from asgd.client import fetching
from asgd.client.commands.getting import download
from asgd.client.errors import ApiError
from asgd.client.fetching import PACK, Mounted, Way, helper_pod, unpack, way
from asgd.errors import UserError
from tests.unit.client.cluster import Cluster, ended, job, pod


def stored(**checkpoint: Any) -> dict[str, Any]:
    found = job()
    found["spec"]["checkpoint"] = checkpoint
    return found


def test_a_bucket_is_read_from_here() -> None:
    assert way(stored(uri="s3://bucket/run"), []) == Way("store", "s3://bucket/run")


def test_a_claim_is_read_in_shard_0_while_it_runs_and_else_by_a_pod_that_mounts_it() -> None:
    document = stored(uri="file:///checkpoints", volume={"pvc": "models"})
    assert way(document, [pod("server")]) == Way("pods", "/checkpoints", ("digits-server-0",))
    assert way(document, []) == Way("claim", "/checkpoints", (), "models")


def test_an_empty_dir_needs_all_servers_and_says_so_when_they_are_gone() -> None:
    document = stored(uri="")
    document["spec"]["parameterServer"]["shards"] = 2
    servers = [pod("server", 0), pod("server", 1)]
    found = way(document, servers)
    assert found.pods == ("digits-server-0", "digits-server-1") and found.place == "/var/lib/asgd/checkpoints"
    with pytest.raises(
        UserError, match=r"are gone with digits-server-1: it has neither a claim nor a bucket"
    ):
        way(document, servers[:1])


def test_the_helper_pod_reads_only_as_the_jobs_own_pods_do_and_goes_with_the_job() -> None:
    security = {"runAsNonRoot": True, "runAsUser": 65532}
    template = {
        "securityContext": security,
        "imagePullSecrets": [{"name": "s"}],
        "containers": [
            {"name": "asgd", "image": "slim:1", "securityContext": {"readOnlyRootFilesystem": True}}
        ],
    }
    made = helper_pod(job(), template, [Mounted("models", "/checkpoints")], "abc")
    spec, container = made["spec"], made["spec"]["containers"][0]
    assert made["metadata"]["name"] == "digits-model-abc"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-digits"
    assert (spec["securityContext"], spec["imagePullSecrets"]) == (security, [{"name": "s"}])
    assert container["volumeMounts"] == [{"name": "claim-0", "mountPath": "/checkpoints", "readOnly": True}]
    assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    twice = helper_pod(job(), template, [Mounted("models", "/a"), Mounted("models", "/b")], "abc")["spec"]
    assert [mount["name"] for mount in twice["containers"][0]["volumeMounts"]] == ["claim-0", "claim-0"]
    assert len(twice["volumes"]) == 1, "of two volumes of one claim some drivers never mount the second"
    assert spec["activeDeadlineSeconds"] and spec["automountServiceAccountToken"] is False


def test_a_copy_that_would_write_outside_of_its_folder_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    with pytest.raises(UserError, match="the copy of the checkpoint cannot be read"):
        unpack(iter([packed.getvalue()]), tmp_path / "inside")
    assert not (tmp_path / "outside").exists()


def packing(root: Path) -> Any:
    """What runs in a pod, run here."""

    def packed(pod: str, command: Sequence[str]) -> Iterator[bytes]:
        _, _, script, _, *rest = command
        assert script == PACK
        yield subprocess.run(
            [sys.executable, "-c", script, str(root), *rest], stdout=subprocess.PIPE, check=True
        ).stdout

    return packed


def test_the_newest_save_that_is_whole_is_taken_and_none_is_said(tmp_path: Path) -> None:
    for number, file in (
        ("000001", "manifest.json"),
        ("000002", "manifest.json"),
        ("000003", "shard-0-of-1"),
    ):
        (tmp_path / "store" / number).mkdir(parents=True)
        (tmp_path / "store" / number / file).write_text("x")
    cluster = Cluster(pod("server"))
    cluster.packed = packing(tmp_path / "store")
    with pytest.raises(UserError) as told:
        download(cluster.access(), stored(uri=""), tmp_path / "m.safetensors", "latest")
    assert "000002" in str(told.value), "it was copied, and is not what it says"
    cluster.packed = packing(tmp_path)
    with pytest.raises(UserError, match=r"in pod digits-server-0 holds no checkpoint yet"):
        download(cluster.access(), stored(uri=""), tmp_path / "m.safetensors", "latest")


def test_a_model_that_there_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    access = Cluster().access()
    with pytest.raises(UserError, match="digits is Running and has no final model; --which=latest"):
        download(access, job(), tmp_path / "m", "final")
    with pytest.raises(UserError, match=r"digits keeps no best model: that needs spec.checkpoint.best"):
        download(access, ended(), tmp_path / "m", "best")


def test_a_helper_pod_that_does_not_start_is_deleted_and_the_scheduler_is_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "_POD_SECONDS", 0.0)
    said = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available."}
    template = {"spec": {"template": {"spec": {"containers": [{"name": "asgd", "image": "slim"}]}}}}
    workers = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "digits-worker"}, **template}
    cluster = Cluster(workers)
    create = cluster.call

    def call(method: str, path: str, **options: Any) -> Any:
        if method == "POST":
            options["body"]["status"] = {"phase": "Pending", "conditions": [said]}
        return create(method, path, **options)

    monkeypatch.setattr(cluster, "call", call)
    place = [Mounted("models", "/checkpoints")]
    with (
        pytest.raises(ApiError, match=r"which would read the claim, is Pending: 0/2 nodes are available."),
        fetching.helper(cluster.access(), job(), place),
    ):
        pytest.fail("it never runs")
    assert [method for method, _, _ in cluster.asked if method in ("POST", "DELETE")] == ["POST", "DELETE"]
    assert not any("/pods/" in place for place in cluster.objects)
