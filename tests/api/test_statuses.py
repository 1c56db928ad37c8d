"""Statuses against a real API server, by the operator's own writer: those of any history are taken, and one of which a
part is refused is written without it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from kubernetes.aio import client, config

from asgd_operator.engine.writer import Writer
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan.actions import Plan
from asgd_operator.plan.model import Observed
from asgd_operator.plan.refused import AGAIN_SECONDS
from tests.api.acting import Job, until
from tests.api.conftest import CRD
from tests.cluster.kubectl import Kubectl
from tests.unit.plan.builders import START
from tests.unit.plan.histories import History, histories

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for an API server, on a machine that may be busy
SECONDS = 30.0
"""How long statuses are applied: on a quiet machine some thousands, on a busy one fewer."""

NUMBERS = itertools.count()


@dataclass
class Desk:
    """Writes statuses of one job, each as the operator does that has seen the one before."""

    job: Job
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    tried: int = 0

    def __post_init__(self) -> None:
        uid = self.job.get("asgdjob", self.job.name)["metadata"]["uid"]
        name = self.job.name
        self.o = Observed(name=name, namespace=name, uid=uid, generation=1, spec=None, now=START)
        self.writer = self.loop.run_until_complete(self._connect())

    async def _connect(self) -> Writer:
        configuration = client.Configuration()
        file = str(self.job.kubectl.kubeconfig)
        await config.load_kube_config(config_file=file, client_configuration=configuration)
        self.api = client.ApiClient(configuration)
        return Writer(Kube(self.api), self.metrics)

    def write(self, status: dict[str, Any]) -> dict[str, Any]:
        """What stands then."""
        self.tried += 1
        self.loop.run_until_complete(self.writer.say(self.o, Plan(status=status)))
        written = self.writer.written(self.o.uid)
        self.o = replace(self.o, status=written[1] if written else {})
        return dict(self.o.status)

    @property
    def refused(self) -> dict[str, float]:
        (family,) = self.metrics.status_refused.collect()
        return {sample.labels["part"]: sample.value for sample in family.samples if sample.value}

    def close(self) -> None:
        self.loop.run_until_complete(self.api.close())
        self.loop.close()


@pytest.fixture
def desk(kubectl: Kubectl) -> Iterator[Desk]:
    job = Job(kubectl, f"statuses-{next(NUMBERS)}")
    job.create()
    made = Desk(job)
    yield made
    made.close()


def test_the_statuses_of_any_history_are_taken_as_they_are(desk: Desk) -> None:
    """By server-side apply over each other: what one has and the next has not must leave nothing behind."""
    end = time.monotonic() + SECONDS

    @settings(
        max_examples=10, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(history=histories())
    def apply(history: History) -> None:
        for status in history:
            assert desk.write(status) == status
            assert desk.refused == {}, status

    number = 0
    while time.monotonic() < end:
        seed(number)(apply)()
        number += 1
    assert desk.tried > 50, "a good share of them was applied"


def status(**training: Any) -> dict[str, Any]:
    failed = {"type": "Failed", "status": "True", "reason": "FatalExitCode", "message": "It ended 🚀."}
    degraded = {"type": "Degraded", "status": "False", "reason": "AsExpected", "message": ""}
    stamps = {"lastTransitionTime": "2026-11-01T12:00:00Z", "observedGeneration": 1}
    conditions = [degraded | stamps, failed | stamps]
    return {"observedGeneration": 1, "phase": "Failed", "training": training, "conditions": conditions}


@pytest.mark.parametrize(
    ("bad", "kept"),
    [
        ({"metrics": {}}, {"updates": 2}),
        ({"metrics": {"val.loss": None}}, {"updates": 2}),
        ({"metrics": {f"m{number}": 1.0 for number in range(65)}}, {"updates": 2}),
        ({"stopReason": "y" * 65}, {"updates": 2}),
        ({"newerThanTheCrd": 1}, {"updates": 2}),
    ],
    ids=["emptied", "null", "too many", "too long", "unknown"],
)
def test_the_verdict_is_written_though_a_figure_is_refused(
    desk: Desk, bad: dict[str, Any], kept: Any
) -> None:
    desk.write(status(updates=1, metrics={"val.loss": 0.5}))
    stands = desk.write(status(updates=2, **bad))
    assert stands.get("training", kept) == kept
    conditions = {item["type"]: item for item in stands["conditions"]}
    assert conditions["Failed"]["message"] == "It ended 🚀."
    assert conditions["Degraded"]["reason"] == "StatusRefused"
    assert desk.job.events() == ["StatusRefused"]
    assert set(desk.refused) == {"training"}
    desk.o = replace(desk.o, now=START + timedelta(seconds=2 * AGAIN_SECONDS))
    later = desk.write(status(updates=3, metrics={"val.loss": 0.25}))
    assert later == status(updates=3, metrics={"val.loss": 0.25}), "it is whole again"


def test_an_operator_that_is_newer_than_the_crd_writes_what_that_knows(kubectl: Kubectl, desk: Desk) -> None:
    older = yaml.safe_load(Path(CRD).read_text())
    known = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    del known["checkpoint"]
    try:
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(older))
        full = status(updates=1) | {"checkpoint": {"lastUpdates": 1}}
        until(lambda: "checkpoint" not in desk.write(full), "the older CRD is in force")
        assert desk.o.status["training"] == {"updates": 1}
        assert set(desk.refused) == {"checkpoint"}
    finally:
        kubectl("apply", "--server-side", "-f", str(CRD))


@pytest.mark.parametrize(
    "text", ["from the hub 🚀", "\x00\x7f\x85\u2028\ufeff\uffff \\ud83d\\ude80"], ids=["emoji", "odd"]
)
def test_files_with_any_characters_are_applied_as_they_are(desk: Desk, text: str) -> None:
    metadata = {"name": "files", "namespace": desk.job.name}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"tasks.py": text}}
    desk.loop.run_until_complete(desk.writer.kube.apply(manifest))
    assert desk.job.get("configmap", "files")["data"] == {"tasks.py": text}
