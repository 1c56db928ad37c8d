"""Several releases on one API server: one after another, two side by side, and none at all (plain manifests).

The CRD and the jobs belong to the cluster and outlive each release.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, KUBE, helm, template
from tests.chart.servers import JOB, Release, api_server
from tests.cluster.kubectl import Kubectl

CRD_FILE = CHART.parents[1] / "crds" / "asgdjobs.asgd.dev.yaml"
CRD = "crd/asgdjobs.asgd.dev"
NAMESPACED_KINDS = {"ServiceAccount", "ConfigMap", "Service", "Deployment", "NetworkPolicy", "Pod"}
NAMESPACED_KINDS |= {"Role", "RoleBinding", "PodMonitor", "ServiceMonitor"}


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with api_server(tmp_path) as kubectl:
        yield kubectl


def job_uid(kubectl: Kubectl) -> str:
    return str(kubectl.json("get", "asgdjob", "digits")["metadata"]["uid"])


def test_another_release_takes_over_the_crd_and_the_jobs_of_one_that_is_gone(kubectl: Kubectl) -> None:
    first = Release(kubectl)
    first("install", CHART, values={})
    kubectl.wait(CRD, "condition=Established")
    kubectl.apply(JOB)
    uid = job_uid(kubectl)
    first("uninstall", "--wait")

    second = Release(kubectl, "training", "platform")
    said = second("install", CHART, values={}, fails=True)
    assert 'CustomResourceDefinition "asgdjobs.asgd.dev"' in said and 'current value is "asgd"' in said
    second("install", CHART, "--take-ownership", values={})
    second("upgrade", CHART, values={"logging": {"level": "debug"}})

    second("uninstall", "--wait")
    third = Release(kubectl, "third", "platform")
    # What operate.md says for a Helm older than 3.17.
    owner = ("meta.helm.sh/release-name=third", "meta.helm.sh/release-namespace=platform")
    kubectl("annotate", CRD, "--overwrite", *owner)
    third("install", CHART, values={})
    assert job_uid(kubectl) == uid


def test_two_releases_of_one_name_in_two_namespaces_stay_out_of_each_others_way(kubectl: Kubectl) -> None:
    teams = {}
    for team in ("red", "blue"):
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{team}-jobs"}})
        teams[team] = Release(kubectl, "asgd", f"{team}-system")
        own = {"watch": {"namespaces": [f"{team}-jobs"]}, "crds": {"enabled": team == "red"}}
        teams[team]("install", CHART, values=own)
    red, blue = teams["red"], teams["blue"]
    for release, own, other in ((red, "red-jobs", "blue-jobs"), (blue, "blue-jobs", "red-jobs")):
        assert release.may("create", "statefulsets", "-n", own)
        assert not release.may("get", "asgdjobs", "-n", other)
        assert release.may("watch", "nodes")

    red("uninstall", "--wait")
    assert blue.may("watch", "nodes") and blue.may("create", "statefulsets", "-n", "blue-jobs")
    kubectl.apply(JOB, namespace="blue-jobs")
    blue("upgrade", CHART, "--take-ownership", values={"watch": {"namespaces": ["blue-jobs"]}})
    assert kubectl.succeeds("get", "asgdjob", "digits", "-n", "blue-jobs")


def test_a_release_without_crd_serves_the_one_that_kubectl_applied_and_may_take_it_over_later(
    kubectl: Kubectl,
) -> None:
    kubectl("apply", "--server-side", "-f", str(CRD_FILE))
    kubectl.wait(CRD, "condition=Established")
    kubectl.apply(JOB)
    uid = job_uid(kubectl)
    release = Release(kubectl)
    release("install", CHART, values={"crds": {"enabled": False}})
    assert "kubectl apply --server-side -f crds/asgdjobs.asgd.dev.yaml" in release("get notes")
    release("uninstall", "--wait")
    assert job_uid(kubectl) == uid
    release("install", CHART, "--take-ownership", values={})
    release("upgrade", CHART, values={"crds": {"enabled": False}})
    assert job_uid(kubectl) == uid, "giving the CRD back to kubectl keeps it"


def test_plain_manifests_install_all_of_it_and_can_be_applied_again_and_taken_away(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "asgd-system")
    manifests = helm("template", "asgd", CHART, "-n", "asgd-system", "--skip-tests", KUBE, values={})
    for _ in range(2):
        kubectl("apply", "--server-side", "-f", "-", stdin=manifests)
    kubectl.wait(CRD, "condition=Established")
    kubectl.apply(JOB)
    assert kubectl.succeeds("get", "deployment", "asgd-asgd-operator", "-n", "asgd-system")
    assert not kubectl.succeeds("get", "pod", "asgd-asgd-operator-test", "-n", "asgd-system")
    without_crd = helm(
        *("template", "asgd", CHART, "-n", "asgd-system", "--skip-tests", KUBE),
        values={"crds": {"enabled": False}},
    )
    kubectl("delete", "-f", "-", stdin=without_crd)
    assert kubectl.succeeds("get", "asgdjob", "digits")


def test_what_stands_in_no_namespace_carries_the_releases_namespace_in_its_name() -> None:
    objects = template({"watch": {"namespaces": ["a"]}, "priorityClasses": {"create": True}})
    cluster_wide = [item for item in objects if item["kind"] not in NAMESPACED_KINDS]
    shared = {item["kind"] for item in cluster_wide if "asgd-system" not in item["metadata"]["name"]}
    # The CRD is the cluster's; jobs name the classes, and values.yaml says that one release creates them.
    assert shared == {"CustomResourceDefinition", "PriorityClass"}
    assert yaml.safe_load(CRD_FILE.read_text())["metadata"]["name"] == "asgdjobs.asgd.dev"
