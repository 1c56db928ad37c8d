"""Each chart that users may have installed is upgraded to the present one: the jobs stay and are still taken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, Values, helm
from tests.chart.servers import Release, api_server
from tests.cluster.kubectl import Kubectl

EARLIER = sorted((Path(__file__).parent / "earlier").glob("asgd-operator-*.tgz"))
MANY: Values = {"watch": {"namespaces": ["default"]}, "leaderElection": {"enabled": True}}
MANY |= {"priorityClasses": {"create": True}, "jobs": {"podGroups": {"enabled": True}}}
EXAMPLES = CHART.parents[1] / "examples"


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    with api_server(tmp_path_factory.mktemp("upgrades")) as kubectl:
        yield kubectl


@pytest.mark.parametrize("values", [{}, MANY], ids=["defaults", "many values"])
@pytest.mark.parametrize("earlier", EARLIER, ids=lambda path: path.stem)
def test_an_earlier_release_is_upgraded_in_place_and_its_jobs_are_still_taken(
    kubectl: Kubectl, earlier: Path, values: Values
) -> None:
    release = Release(kubectl)
    release("install", earlier, "--take-ownership", values=values)
    kubectl.wait("crd/asgdjobs.asgd.dev", "condition=Established")
    kubectl("apply", "-f", str(EXAMPLES / "digits.yaml"))
    before = kubectl.json("get", "asgdjob", "digits")["metadata"]

    release("upgrade", CHART, values=values)
    kubectl.wait("crd/asgdjobs.asgd.dev", "condition=Established")
    job = kubectl.json("get", "asgdjob", "digits")
    assert (job["metadata"]["uid"], job["metadata"]["generation"]) == (before["uid"], before["generation"])
    # An edit of a live field goes through all rules of today.
    kubectl("patch", "asgdjob", "digits", "--type=merge", "-p", '{"spec": {"workers": {"replicas": 3}}}')
    assert release.may("create", "statefulsets")
    assert release.may("watch", "nodes")

    release("rollback", "1")
    assert kubectl.succeeds("get", "asgdjob", "digits")
    release("uninstall", "--wait")
    kubectl("delete", "asgdjob", "digits")


def test_every_released_version_and_the_first_one_are_among_the_earlier_charts() -> None:
    released = set(
        re.findall(r"^## v?(\d+\.\d+\.\d+)", (CHART.parents[1] / "CHANGELOG.md").read_text(), re.M)
    )
    kept = {yaml.safe_load(helm("show", "chart", path))["version"] for path in EARLIER}
    assert kept >= released | {"0.1.0"}
