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
