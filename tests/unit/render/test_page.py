"""The container that serves a job's page: where it stands, what it may do, what it costs the pod, who reaches it."""

from __future__ import annotations

from typing import Any

import pytest

from asgd_operator.render import Manifest, Settings
from tests.unit.render.builders import KEYS, SETTINGS, container, pod, rendered

OFF = Settings(SETTINGS.server_image, SETTINGS.trainer_image, page=False)
GUARANTEED = "parameterServer.resources={requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1, memory: 1Gi}}"


def page(*sets: str, settings: Settings = SETTINGS) -> Manifest | None:
    spec = pod(rendered(*sets, settings=settings).servers)
    return next((item for item in spec["containers"] if item["name"] == "page"), None)


def of(*sets: str) -> Manifest:
    found = page(*sets)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("sets", "settings", "there"),
    [
        ((), SETTINGS, True),
        ((), OFF, False),
        (("page.enabled=false",), SETTINGS, False),
        (("page.enabled=true",), OFF, True),
        (("page={}",), OFF, True),
    ],
)
def test_a_job_has_a_page_unless_it_or_the_installation_says_no(
    sets: tuple[str, ...], settings: Settings, there: bool
) -> None:
    made = rendered(*sets, settings=settings)
    assert (page(*sets, settings=settings) is not None) == there
    ports = {port["name"]: port["port"] for port in made.service["spec"]["ports"]}
    assert ("page" in ports) == there
    mentioned = "page" in str(made.servers["spec"]["template"])
    assert mentioned == there


def test_workers_and_evaluator_have_none() -> None:
    made = rendered()
    for workload in (made.workers, made.evaluator):
        assert [item["name"] for item in pod(workload)["containers"]] == ["asgd"]


def test_it_neither_holds_back_the_server_nor_is_probed_and_kubectl_means_the_server() -> None:
    servers = rendered().servers
    spec, found = pod(servers), of()
    assert [item["name"] for item in spec["containers"]] == ["asgd", "page"]
    assert "initContainers" not in spec
    assert not [key for key in found if key.endswith("Probe")]
    annotations = servers["spec"]["template"]["metadata"]["annotations"]
    assert annotations["kubectl.kubernetes.io/default-container"] == "asgd"


def test_it_passes_the_restricted_standard_and_never_sees_the_server_s_secret() -> None:
    made, found = rendered(), of()
    assert found["securityContext"] == container(made.servers)["securityContext"]
    volumes = {volume["name"]: volume for volume in pod(made.servers)["volumes"]}
    mounted = {mount["name"]: mount["mountPath"] for mount in found["volumeMounts"]}
    assert "config" not in mounted and "server.json" not in str(volumes["page-config"])
    assert mounted["page-config"] == "/etc/asgd"
    keys, token = (source["secret"] for source in volumes["page-config"]["projected"]["sources"][1:])
    assert keys["items"][0]["key"] == "client.json"
    assert token["items"][0]["key"] == "page.token"
    assert token["optional"] is True, "a Secret of an earlier version has none, and servers must start"
    assert made.keys is not None
    assert made.keys["stringData"]["page.token"] == KEYS.page_token


def test_it_asks_the_server_beside_it_and_keeps_what_it_has_seen_beside_the_checkpoints() -> None:
    def told(*sets: str) -> dict[str, Any]:
        return {item["name"]: item.get("value", item.get("valueFrom")) for item in of(*sets)["env"]}

    env = told("parameterServer.shards=2")
    first, second = env["ASGD_SERVERS"].split(",")
    assert first == "tcp://127.0.0.1:7077"
    assert second == "tcp://digits-server-1.digits-server.train.svc:7077"
    assert env["ASGD_INDEX"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    claim = ("checkpoint.uri=file:///models", "checkpoint.volume={pvc: models}")
    assert told(*claim)["ASGD_PAGE_FOLDER"] == "/models"
    assert {"name": "checkpoint", "mountPath": "/models"} in of(*claim)["volumeMounts"]
    assert told("checkpoint.uri=s3://bucket/x")["ASGD_PAGE_FOLDER"] == "/var/lib/asgd/page"


@pytest.mark.parametrize(
    ("server", "requests", "limits"),
    [
        ("parameterServer.resources={}", {"cpu": "20m", "memory": "64Mi"}, None),
        (
            "parameterServer.resources={limits: {memory: 1Gi}, requests: {memory: 512Mi}}",
            {"cpu": "20m", "memory": "64Mi"},
            {"memory": "256Mi"},
        ),
        (GUARANTEED, {"cpu": "500m", "memory": "256Mi"}, {"cpu": "500m", "memory": "256Mi"}),
        (
            "parameterServer.resources={limits: {cpu: 1, memory: 1Gi}}",
            {"cpu": "500m", "memory": "256Mi"},
            {"cpu": "500m", "memory": "256Mi"},
        ),
    ],
)
def test_it_has_limits_where_the_server_has_some_and_leaves_the_pod_its_class(
    server: str, requests: dict[str, str], limits: dict[str, str] | None
) -> None:
    resources = of(server)["resources"]
    assert (resources["requests"], resources.get("limits")) == (requests, limits)


def test_a_pod_template_changes_or_removes_it_and_its_image_is_the_server_s() -> None:
    own = "parameterServer.podTemplate.spec.containers=[{name: asgd, image: mine}]"
    assert (of()["image"], of(own)["image"]) == (SETTINGS.server_image, "mine")
    more = "parameterServer.podTemplate.spec.containers=[{name: page, resources: {requests: {memory: 1Gi}}}]"
    assert of(more)["resources"]["requests"] == {"cpu": "20m", "memory": "1Gi"}
    gone = "parameterServer.podTemplate.spec.containers=[{name: page, $patch: delete}]"
    assert page(gone) is None


def test_of_others_than_the_job_s_own_pods_nobody_reaches_it() -> None:
    policy = rendered().network
    assert policy is not None
    own, scrapers = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": {"asgd.dev/job-name": "digits"}}}]}
    assert [port["port"] for port in scrapers["ports"]] == [9090]
