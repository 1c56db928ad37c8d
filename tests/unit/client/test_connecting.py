"""Kubeconfig, context and namespace as kubectl takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from asgd.client.access import connect_to
from asgd.client.connecting import connect
from asgd.errors import UserError


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    cluster = {
        "name": "c",
        "cluster": {"server": "https://198.51.100.1:6443", "insecure-skip-tls-verify": True},
    }
    contexts = [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
        {"name": "two", "context": {"cluster": "c", "user": "u"}},
    ]
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [cluster],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": contexts,
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_current_context_gives_the_namespace_and_another_one_its_own(kubeconfig: Path) -> None:
    place = connect(environ={"KUBECONFIG": str(kubeconfig)})
    assert (place.context, place.namespace) == ("one", "team")
    assert place.configuration.host == "https://198.51.100.1:6443"
    assert connect(str(kubeconfig), "two", {}).namespace == "default"
    assert connect_to(kubeconfig=str(kubeconfig), namespace="mine").namespace == "mine"


def test_a_context_that_does_not_exist_is_refused_with_those_that_do(kubeconfig: Path) -> None:
    with pytest.raises(UserError, match=r"context 'three' does not exist in .*; it has one, two"):
        connect(str(kubeconfig), "three", {})


def test_a_kubeconfig_that_is_missing_or_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no cluster to talk to: .*missing does not exist"):
        connect(str(tmp_path / "missing"), "", {})
    (tmp_path / "odd").write_text("just text")
    with pytest.raises(UserError, match="odd is no usable kubeconfig"):
        connect(str(tmp_path / "odd"), "", {})


def test_inside_a_pod_its_own_account_and_namespace_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.config import incluster_config

    from asgd.client import connecting

    for name, text in (("token", "secret"), ("ca.crt", "cert"), ("namespace", "team\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(connecting, "_IN_POD", tmp_path / "namespace")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    address = {"KUBERNETES_SERVICE_HOST": "198.51.100.9", "KUBERNETES_SERVICE_PORT": "443"}
    for name, value in address.items():
        monkeypatch.setenv(name, value)
    place = connect(environ=address)
    assert (place.namespace, place.context) == ("team", "")
    assert place.configuration.host == "https://198.51.100.9:443"


def test_a_pod_without_a_token_is_told_how_to_get_one_also_for_a_user_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.config import incluster_config

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "198.51.100.9")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(
        UserError, match=r"this pod has no service account to use \(Service token file does not exist"
    ):
        connect(environ={"KUBERNETES_SERVICE_HOST": "198.51.100.9"})
    with pytest.raises(UserError, match=r"no cluster to talk to: ~/\.kube/config does not exist"):
        connect(environ={})
