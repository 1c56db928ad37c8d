"""Rules that hold for every child of every job: ownership, names, labels, hashes, keys."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import zmq
import zmq.utils.z85

from asgd.spec import job_from_json, job_to_json
from asgd_operator import curve
from asgd_operator.constants import JOB_LABEL, RENDERED_HASH, SPEC_HASH
from asgd_operator.render import Owner, Settings, children
from asgd_operator.render.names import digest
from tests.unit.render.builders import SETTINGS, container, environment, job, rendered
from tests.unit.render.golden import names

ALL = pytest.mark.parametrize("name", names())
LONGEST = "metadata.name=" + "a" * 40


@ALL
def test_every_child_is_owned_labelled_and_hashed(name: str) -> None:
    made = rendered(name=name)
    for child in made.all():
        (owner,) = child["metadata"]["ownerReferences"]
        assert owner["controller"] is True and owner["uid"].startswith("11111111")
        assert "blockOwnerDeletion" not in owner
        assert child["metadata"]["labels"][JOB_LABEL] == owner["name"]
        assert {SPEC_HASH, RENDERED_HASH} <= child["metadata"]["annotations"].keys()
        assert child["metadata"]["namespace"] == "train"


@ALL
def test_rendering_twice_gives_the_same_objects(name: str) -> None:
    assert rendered(name=name) == rendered(name=name)


def test_the_longest_job_name_leaves_room_for_what_controllers_append() -> None:
    for child in rendered(LONGEST).all():
        name = child["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        appended = "-9999-abcde" if child["kind"] in ("Job", "StatefulSet") else ""
        assert len(name + appended) <= 63


def test_live_edits_change_no_name_no_spec_hash_and_no_template() -> None:
    before = rendered()
    after = rendered(
        "workers.replicas=9",
        "workers.minReplicas=2",
        "workers.maxReplicas=99",
        "runPolicy.activeDeadlineSeconds=60",
        "stopAfter={updates: 10}",
        "evaluation.everySeconds=3",
        "checkpoint.everySeconds=5",
        "checkpoint.keep=9",
    )
    assert after.spec_hash == before.spec_hash
    assert after.config == before.config
    for role in ("servers", "workers", "evaluator"):
        assert getattr(after, role)["spec"]["template"] == getattr(before, role)["spec"]["template"]
    live = json.loads(after.live["data"]["live.json"])
    assert live["stopAfter"] == {"updates": 10} and live["workers"]["replicas"] == 9
    assert after.live["metadata"]["annotations"] != before.live["metadata"]["annotations"]


@pytest.mark.parametrize(
    "edit",
    ["batchSize=64", "image=other:1", "parameterServer.shards=2", "checkpoint.uri=s3://b/x", "args.a=1"],
)
def test_a_frozen_edit_changes_the_spec_hash_and_the_name_of_the_config(edit: str) -> None:
    before, after = rendered(), rendered(edit)
    assert after.spec_hash != before.spec_hash
    assert after.config["metadata"]["name"] != before.config["metadata"]["name"]
    assert after.workers["metadata"]["name"] == before.workers["metadata"]["name"]


def test_other_devices_of_the_evaluator_make_another_evaluator_and_nothing_else() -> None:
    before, after = rendered(), rendered("evaluation.devices.count=1")
    assert after.spec_hash == before.spec_hash
    hashes = [made.evaluator["metadata"]["annotations"][SPEC_HASH] for made in (before, after)]
    assert hashes[0] != hashes[1]


def test_a_hash_never_looks_like_a_number_to_yaml() -> None:
    assert not set("".join(digest(value) for value in range(1000))) & set("aeiou")


def test_an_upgrade_of_the_operator_alone_changes_no_rendered_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rendered().servers["metadata"]["annotations"]
    monkeypatch.setattr("asgd_operator.render.assemble.__version__", "99.0.0")
    after = rendered().servers["metadata"]["annotations"]
    assert after[RENDERED_HASH] == before[RENDERED_HASH] and after != before


def test_the_job_file_in_the_config_is_what_the_trainer_reads() -> None:
    made = rendered("source={tasks.py: 'x = 1'}", "args={width: 3}")
    read = job_from_json(made.config["data"]["job.json"].encode())
    assert (read.name, read.namespace) == ("digits", "train")
    assert read.spec.args == {"width": 3} and read.spec.source == {"tasks.py": "x = 1"}
    assert made.config["immutable"] is True


@ALL
def test_the_two_configs_together_hold_every_field_of_the_job_each_once(name: str) -> None:
    made = rendered(name=name)
    whole, live = json.loads(made.config["data"]["job.json"]), json.loads(made.live["data"]["live.json"])
    _merge(whole["spec"], live)
    assert whole["spec"] == json.loads(job_to_json(job(name=name)))["spec"]


def test_workers_never_get_the_servers_secret_key() -> None:
    made = rendered()
    assert made.keys is not None
    assert "server-secret" in made.keys["stringData"]["server.json"]
    assert "server-secret" not in made.keys["stringData"]["client.json"]
    for workload, key in ((made.servers, "server.json"), (made.workers, "client.json")):
        volumes = workload["spec"]["template"]["spec"]["volumes"]
        secret = volumes[0]["projected"]["sources"][1]["secret"]
        assert secret["items"] == [{"key": key, "path": "keys/keys.json", "mode": 0o440}]


def test_an_existing_secret_is_not_rendered_again() -> None:
    made = children(job(), Owner("u", "digits", "train"), SETTINGS)
    assert made.keys is None
    assert "Secret" not in {child["kind"] for child in made.all()}


def test_generated_keys_are_what_zeromq_itself_would_make() -> None:
    keys = curve.generate()
    for public, secret in (
        (keys.server_public, keys.server_secret),
        (keys.client_public, keys.client_secret),
    ):
        assert zmq.curve_public(secret.encode()) == public.encode()
    assert keys.server_secret != keys.client_secret
    data = bytes(range(32))
    assert curve.z85(data).encode() == zmq.utils.z85.encode(data)


def test_the_shards_addresses_stand_in_order_in_every_role() -> None:
    made = rendered("parameterServer.shards=3")
    want = ",".join(f"tcp://digits-server-{i}.digits-server.train.svc:7077" for i in range(3))
    for workload in (made.servers, made.workers, made.evaluator):
        assert environment(workload)["ASGD_SERVERS"] == want
    assert made.servers["spec"]["serviceName"] == made.service["metadata"]["name"] == "digits-server"


def test_the_bulk_lane_s_port_is_open_where_servers_listen_for_it() -> None:
    made = rendered()
    assert environment(made.servers)["ASGD_BULK"] == "tcp://0.0.0.0:7078"
    assert {"name": "bulk", "containerPort": 7078, "protocol": "TCP"} in container(made.servers)["ports"]
    assert {"name": "bulk", "port": 7078, "protocol": "TCP"} in made.service["spec"]["ports"]
    for workload in (made.workers, made.evaluator):
        assert "ASGD_BULK" not in environment(workload)


def test_the_monitor_exists_only_where_the_installation_asks_for_it() -> None:
    assert rendered().monitor is None
    settings = Settings("a", "b", pod_monitor=True, pod_monitor_labels={"release": "prom"})
    monitor = rendered(settings=settings).monitor
    assert monitor is not None and monitor["metadata"]["labels"]["release"] == "prom"


def test_the_network_policy_can_be_disabled() -> None:
    assert rendered("network.policy=Disabled").network is None


def test_metrics_are_open_to_the_operator_and_prometheus_only() -> None:
    policy = rendered("metrics.port=9999").network
    assert policy is not None
    own, scrapers = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": {JOB_LABEL: "digits"}}}]}
    assert scrapers["ports"] == [{"port": 9999, "protocol": "TCP"}]
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in scrapers["from"]] == [
        "asgd-operator",
        "prometheus",
    ]
    assert all("namespaceSelector" in peer for peer in scrapers["from"])


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Puts the fields of `more` into `into`; none may be in both. Null stands for what nobody has given."""
    for key, value in more.items():
        if value is None:
            assert key not in into
        elif isinstance(value, dict) and isinstance(into.setdefault(key, {}), dict):
            _merge(into[key], value)
        else:
            assert key not in into
            into[key] = value
