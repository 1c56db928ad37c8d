"""`kubectl asgd open`: which pod serves a job's page, and where its token is."""

from __future__ import annotations

import base64
from typing import Any

from asgd.client.commands.opening import Served, served, token_in
from tests.unit.render.builders import rendered


def pod(index: int, **states: Any) -> dict[str, Any]:
    """A server's pod as the operator's template makes it, with these states of its containers."""
    template = rendered().servers["spec"]["template"]
    labels = {**template["metadata"]["labels"], "apps.kubernetes.io/pod-index": str(index)}
    statuses = [{"name": name, "state": state} for name, state in states.items()]
    return {
        "metadata": {"name": f"digits-server-{index}", "labels": labels},
        "spec": template["spec"],
        "status": {"containerStatuses": statuses},
    }


RUNNING, WAITING = {"running": {}}, {"waiting": {"reason": "CrashLoopBackOff"}}


def test_the_page_is_that_of_shard_0_and_its_token_in_the_secret_that_this_pod_mounts() -> None:
    both = [pod(1, asgd=RUNNING, page=RUNNING), pod(0, asgd=RUNNING, page=RUNNING)]
    found = served(both)
    assert found == Served("digits-server-0", 7079, "digits-keys-55gdtgntth")
    made = rendered().keys
    assert made is not None and made["metadata"]["name"] == found.secret


def test_a_page_that_does_not_run_now_is_none_and_that_of_another_shard_neither() -> None:
    assert served([pod(0, asgd=RUNNING, page=WAITING), pod(1, asgd=RUNNING, page=RUNNING)]) is None
    assert served([]) is None


def test_the_token_is_read_and_one_that_is_none_is_empty() -> None:
    assert token_in({"data": {"page.token": base64.b64encode(b"a-token").decode()}}) == "a-token"
    for data in ({}, {"page.token": "="}, {"page.token": "/w=="}, None):
        assert token_in({"data": data}) == ""
