"""What GitOps tools make of a job in each phase: Argo CD by the chart's Lua script, Flux by kstatus and by CEL.

The statuses are those that the operator derives. Lua is 5.1, as in Argo CD; kstatus is the library itself, and CEL
Google's.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from cel_expr_python import cel
from lupa.lua51 import LuaRuntime, lua_type

from asgd_operator.constants import KSTATUS
from tests.chart.helm import CHART
from tests.cluster import binaries
from tests.cluster.access import unavailable
from tests.cluster.shell import run
from tests.unit.plan.builders import Scene, make_job

PAGE = (CHART.parents[1] / "docs" / "how-to" / "gitops.md").read_text(encoding="utf-8")
SCRIPT = (CHART / "files" / "argocd-health.lua").read_text(encoding="utf-8")
RUNNING = make_job().workers(4, minimum=2).running().with_report(updates=1).written()
ENDING = RUNNING.with_report(stop_reason="epochs", updates=40).written()
STALLED = RUNNING.after(700).written()
ENDED = ENDING.with_workers(ready=0, complete=True, succeeded=4).with_evaluator(complete=True).written()

SCENES: dict[str, tuple[Scene, str, str, str]] = {
    # phase and case: the job, what Argo CD says, what kstatus says, what Flux says that waits for the end by CEL
    "Starting": (make_job().with_supports().with_servers(ready=0).written(), "Progressing", "InProgress", "InProgress"),
    "WaitingForWorkers": (RUNNING.with_workers(ready=1).written(), "Progressing", "InProgress", "InProgress"),
    "Recovering": (RUNNING.with_servers(ready=1).written(), "Progressing", "InProgress", "InProgress"),
    "Running": (RUNNING, "Healthy", "Current", "InProgress"),
    "Running, degraded": (RUNNING.with_workers(ready=3).after(99).written(), "Healthy", "Current", "InProgress"),
    "Running, edited": (RUNNING.edited(), "Progressing", "InProgress", "InProgress"),
    "Stalled": (STALLED, "Degraded", "Current", "InProgress"),
    "Suspending": (RUNNING.suspended().written(), "Progressing", "InProgress", "InProgress"),
    "Suspended": (make_job().stopped(), "Suspended", "Current", "InProgress"),
    "Completing": (ENDING, "Healthy", "Current", "InProgress"),
    "Succeeded": (ENDED, "Healthy", "Current", "Current"),
    "Failed": (RUNNING.with_report(stop_reason="diverged").written(), "Degraded", "Failed", "Failed"),
    "Invalid": (make_job().with_problem("InvalidSpec", "no").written(), "Degraded", "Failed", "Failed"),
}  # fmt: skip


def document(scene: Scene) -> dict[str, Any]:
    """The job as the API server gives it."""
    metadata = {"name": scene.name, "namespace": "default", "generation": scene.seen.generation}
    return {
        "apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": metadata, "status": dict(scene.seen.status)
    }  # fmt: skip


UNSEEN = {**document(make_job()), "status": {"observedGeneration": -1}}
"""As the CRD's default has it before the operator's first pass."""


@pytest.mark.parametrize("case", SCENES)
def test_the_scenes_are_what_they_are_called(case: str) -> None:
    status = document(SCENES[case][0])["status"]
    assert status["phase"] == case.partition(",")[0]
    if status["phase"] == "Running":
        degraded = next(item for item in status["conditions"] if item["type"] == "Degraded")
        assert (degraded["status"] == "True") == ("degraded" in case)


def health(found: dict[str, Any]) -> tuple[str, str]:
    """What Argo CD's health check says: the script sees `obj` and returns a table."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(found, recursive=True)
    said = lua.execute(SCRIPT)
    assert lua_type(said) == "table"
    return str(said["status"]), str(said["message"])


@pytest.mark.parametrize("case", SCENES)
def test_argo_cd_says_how_a_job_is(case: str) -> None:
    scene, expected, _, _ = SCENES[case]
    status, message = health(document(scene))
    assert status == expected
    assert message
    if "edited" not in case and scene.seen.status.get("message"):
        assert message == f"{scene.seen.status['phase']}: {scene.seen.status['message']}"


def test_argo_cd_waits_for_a_job_that_nobody_has_looked_at() -> None:
    for found in (UNSEEN, {key: value for key, value in UNSEEN.items() if key != "status"}):
        assert health(found) == ("Progressing", "the operator has not looked at it yet")


def test_the_page_has_the_script_as_the_chart_has_it() -> None:
    (block,) = re.findall(r"^```yaml\n(data:\n  resource\.customizations.*?)^```", PAGE, re.M | re.S)
    (shown,) = yaml.safe_load(block)["data"].values()
    assert shown.strip() == SCRIPT.partition("\n")[2].strip()


def kstatus(*found: dict[str, Any]) -> list[str]:
    """The library's verdict on each."""
    if binaries.missing([program for program in binaries.BESIDE if program.name == "kstatus"]):
        unavailable("not built yet: kstatus; run `python3 -m tests.cluster build`")
    said = run(str(binaries.find("kstatus")), stdin="".join(f"{json.dumps(each)}\n" for each in found))
    return [line.partition("\t")[0] for line in said.splitlines()]


def test_kstatus_says_whether_a_job_is_there_without_knowing_its_kind() -> None:
    assert kstatus(*(document(scene) for scene, *_ in SCENES.values())) == [
        words[2] for words in SCENES.values()
    ]
    assert kstatus(UNSEEN) == ["InProgress"]


def test_conditions_for_kstatus_stand_only_while_they_hold_and_keep_their_time() -> None:
    for scene, _, expected, _ in SCENES.values():
        found = [item for item in scene.seen.status["conditions"] if item["type"] in KSTATUS]
        assert [item["status"] for item in found] == ["True"] * len(found)
        if scene.seen.generation == 1:
            assert len(found) == (expected != "Current")
    starting = SCENES["Starting"][0]
    later = starting.after(50).with_servers(ready=1).written()
    (first,), (second,) = (
        [item for item in scene.seen.status["conditions"] if item["type"] == "Reconciling"]
        for scene in (starting, later)
    )
    assert first["lastTransitionTime"] == second["lastTransitionTime"]
    assert first["message"] != second["message"]


def flux(found: dict[str, Any]) -> str:
    """As its evaluator does: the generation first, then the expressions in this order; else it waits."""
    (block,) = re.findall(r"^```yaml\n(spec:\n  wait: true.*?)^```", PAGE, re.M | re.S)
    (check,) = yaml.safe_load(block)["spec"]["healthCheckExprs"]
    assert (check["apiVersion"], check["kind"]) == (found["apiVersion"], found["kind"])
    if found["status"]["observedGeneration"] != found["metadata"]["generation"]:
        return "InProgress"
    environment = cel.NewEnv(variables={"status": cel.Type.DYN, "metadata": cel.Type.DYN})
    values = {"status": found["status"], "metadata": found["metadata"]}
    for word, status in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        if word in check and environment.compile(check[word]).eval(data=values).value():
            return status
    return "InProgress"


@pytest.mark.parametrize("case", SCENES)
def test_flux_waits_for_the_end_of_a_job_if_it_is_told_so(case: str) -> None:
    scene, _, _, expected = SCENES[case]
    assert flux(document(scene)) == expected
    assert flux(UNSEEN) == "InProgress"
