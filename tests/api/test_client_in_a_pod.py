"""`asgd.client` from a notebook in a pod: the pod's own account, the rights of the chart's role, and no kubeconfig."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgd.spec.status import Status
from tests.api.acting import OperatorProcess, ShardZero
from tests.api.in_a_pod import Account, own_address
from tests.api.kubelet import Kubelet
from tests.chart.helm import CHART, one, template
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]
NAMESPACE = "lab"
ROLE = "asgd-asgd-operator-asgd-system-jobs-client"


@pytest.fixture
def account(kubectl: Kubectl, tmp_path: Path) -> Account:
    """Of the namespace `lab`, made as docs/how-to/kubectl.md says, with the role that the chart brings."""
    page = (CHART.parents[1] / "docs" / "how-to" / "kubectl.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"```yaml\n# notebook-account\.yaml\n(.*?)```", page, re.DOTALL)
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    kubectl.apply(one(template(), "ClusterRole", ROLE), *yaml.safe_load_all(told), namespace=NAMESPACE)
    return Account(kubectl, NAMESPACE, "notebook", tmp_path)


@pytest.fixture
def port(kubectl: Kubectl) -> Iterator[int]:
    """All pods run, and shard 0 of each job trains; where it tells so."""
    address = own_address()
    shard, played = ShardZero(address), Kubelet(kubectl.kubeconfig, lambda pod: address)
    shard.status = Status(
        job="cells", phase="running", algorithm="asgd", updates=40, samples=640, loss=0.5,
        metrics={"accuracy": 0.9}, metrics_at_updates=40,
    )  # fmt: skip
    yield shard.port
    played.close()
    shard.close()


def text(outputs: list[Any]) -> str:
    """What a cell has printed and returned."""
    return "".join(out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in outputs)


def test_a_notebook_in_a_pod_sends_follows_scales_lists_and_deletes_jobs(
    kubectl: Kubectl, running: OperatorProcess, account: Account, port: int
) -> None:
    options = f"workers=2, shards=1, epochs=3, set={{'metrics.port': {port}}}"
    made, followed, asked, waited, scaled, gone, refused = account.execute(
        f"""
        import asgd.client

        def task():
            raise NotImplementedError("no pod runs here")

        run = asgd.client.submit(task, name="cells", {options})
        run
        """,
        """
        try:
            run.follow(timeout=12)
        except TimeoutError as error:
            print(error)
        """,
        "print(run.phase, run.status.updates, run.metrics, [*run.history.columns], len(run.history) > 1)",
        f"""
        import asyncio
        from asgd.client import aio

        other = await aio.submit(task, name="other", {options})
        turns = 0

        async def turn():
            global turns
            while True:
                turns += 1
                await asyncio.sleep(0.05)

        ticking = asyncio.create_task(turn())
        try:
            await other.wait(timeout=5)
        except TimeoutError as error:
            print(error)
        ticking.cancel()
        print(turns > 40, (await other.get("metrics"))["accuracy"])
        """,
        """
        run.scale(3).suspend()
        await other.scale(1)
        jobs = asgd.client.connect_to().jobs()
        print(sorted((job["metadata"]["name"], job["spec"]["workers"]["replicas"]) for job in jobs))
        """,
        """
        run.delete()
        await other.delete()
        try:
            run.phase
        except asgd.client.NotFound as error:
            print(error)
        """,
        """
        for ask in (lambda access: access.within("default").jobs(), lambda access: access.select("Secret")):
            try:
                ask(asgd.client.connect_to())
            except asgd.client.Forbidden as error:
                print(error)
        """,
    )
    assert text(made) == "<asgd.client.Run lab/cells>"
    display, note = followed
    assert (
        display.output_type == "display_data"
        and "cells \u00b7 asgd \u00b7 running" in display.data["text/plain"]
    )
    assert note.text == "cells goes on after 12 s\n", "one display, whatever happens"
    assert text(asked).startswith("Running 40 {'accuracy': 0.9} [") and text(asked).endswith("True\n")
    assert [out.output_type for out in waited] == ["display_data", "stream"], "also of a call that is awaited"
    assert text(waited[1:]) == "other goes on after 5 s\nTrue 0.9\n", (
        "and the notebook's loop went on meanwhile"
    )
    assert text(scaled) == "[('cells', 3), ('other', 1)]\n"
    assert text(gone) == 'Error from server (NotFound): asgdjobs.asgd.dev "cells" not found\n'
    elsewhere, secrets = text(refused).splitlines()
    assert 'cannot list resource "asgdjobs"' in elsewhere and 'in the namespace "default"' in elsewhere
    assert 'cannot list resource "secrets"' in secrets


def test_kubectl_asgd_in_a_pod_uses_its_account_and_namespace(account: Account) -> None:
    done = account.run(sys.executable, "-m", "asgd.client.cli", "list")
    assert (done.returncode, done.stderr) == (0, "No resources found in lab namespace.\n")
