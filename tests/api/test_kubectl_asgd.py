"""`kubectl asgd` against a real API server: what it sends is taken, and what is refused is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from asgd.client.cli import main
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(120)
NAMESPACE = "kubectl-asgd"
Printed = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> str:
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return NAMESPACE


def run(kubectl: Kubectl, *words: str) -> int:
    return main([*words, "--kubeconfig", str(kubectl.kubeconfig), "-n", NAMESPACE])


def test_a_script_is_submitted_scaled_suspended_and_deleted(
    kubectl: Kubectl, namespace: str, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "train.py").write_text("import helper\ndef task(): ...\n")
    (tmp_path / "helper.py").write_text("")
    for name in ("train", "train-2"):
        assert run(kubectl, "submit", str(tmp_path / "train.py"), "--workers", "2", "-o", "name") == 0
        assert capsys.readouterr().out == f"asgdjob.asgd.dev/{name}\n"
    assert run(kubectl, "scale", "train", "5") == run(kubectl, "suspend", "train") == 0
    found = kubectl.json("-n", NAMESPACE, "get", "asgdjob", "train")["spec"]
    assert sorted(found["source"]) == ["helper.py", "train.py"]
    assert (found["workers"]["replicas"], found["runPolicy"]["suspend"]) == (5, True)
    capsys.readouterr()
    assert run(kubectl, "list", "-o", "json") == 0
    listed = json.loads(capsys.readouterr().out)["items"]
    assert [(each["kind"], each["metadata"]["name"]) for each in listed] == [
        ("AsgdJob", "train"),
        ("AsgdJob", "train-2"),
    ]
    assert run(kubectl, "status", "train") == run(kubectl, "events", "train") == 0
    assert "No pods" in capsys.readouterr().out
    assert run(kubectl, "delete", "train") == run(kubectl, "delete", "train-2") == 0
    assert run(kubectl, "status", "train") == 1
    assert capsys.readouterr().err == 'Error from server (NotFound): asgdjobs.asgd.dev "train" not found\n'


def test_validate_asks_the_api_server_and_leaves_nothing(
    kubectl: Kubectl, namespace: str, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "train.py").write_text("def task(): ...\n")
    words = ("validate", str(tmp_path / "train.py"), "--name", "checked")
    assert run(kubectl, *words) == 0
    assert capsys.readouterr().out.endswith(
        "ok (checked), and the API server takes it in namespace kubectl-asgd\n"
    )
    assert kubectl("-n", NAMESPACE, "get", "asgdjobs", "--no-headers", "--ignore-not-found") == ""
    kubectl.apply(
        {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "checked"},
         "spec": {"entrypoint": "m:f"}}, namespace=NAMESPACE,
    )  # fmt: skip
    assert run(kubectl, *words) == 2, "a job that is not suspended may not change its entrypoint"
    assert "entrypoint" in capsys.readouterr().err


def test_a_user_without_rights_and_a_cluster_that_is_away_are_one_sentence_each(
    kubectl: Kubectl, namespace: str, tmp_path: Path, capsys: Printed
) -> None:
    kubectl("-n", NAMESPACE, "create", "serviceaccount", "nobody")
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl("-n", NAMESPACE, "create", "token", "nobody").strip()}
    (tmp_path / "nobody").write_text(yaml.safe_dump(config))
    assert main(["list", "-n", NAMESPACE, "--kubeconfig", str(tmp_path / "nobody")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error from server (Forbidden): asgdjobs.asgd.dev is forbidden: User ")
    assert len(said.splitlines()) == 1
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "away").write_text(yaml.safe_dump(config))
    assert main(["list", "--kubeconfig", str(tmp_path / "away")]) == 75
    said = capsys.readouterr().err
    assert said.startswith("Unable to connect to the server https://127.0.0.1:1: ") and "refused" in said
    assert len(said.splitlines()) == 1
