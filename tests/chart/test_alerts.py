"""Alerts of the chart: written in metrics that exist; each fires when it should and leads into the runbook."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tools.exposition import families

from asgd import exitcodes
from asgd_operator.constants import REASONS
from tests.chart.helm import CHART, one, template
from tests.chart.promtool import promtool

ALERTS = CHART / "files" / "alerts.yaml"
RUNBOOK = CHART.parents[1] / "docs" / "reference" / "runbook.md"
JOB = 'namespace="team", name="digits"'
POD = 'namespace="team", asgd_dev_job_name="digits", pod="digits-server-0"'
Scene = list[dict[str, str]]


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def one_of(metric: str, values: str) -> dict[str, str]:
    return {"series": f"asgd_operator_{metric}", "values": values}


def condition(kind: str, status: str, values: str = "1x60") -> dict[str, str]:
    return one_of(f'job_condition{{{JOB}, type="{kind}", status="{status}"}}', values)


def reason(kind: str, why: str, values: str = "1x60", phase: str = "Running") -> dict[str, str]:
    """Why a condition needs a look, as the operator tells it."""
    return one_of(f'job_reason{{{JOB}, phase="{phase}", type="{kind}", reason="{why}"}}', values)


def shard(metric: str, values: str, labels: str = "") -> dict[str, str]:
    """A series of shard 0, with the labels of its scrape."""
    return {"series": f"asgd_server_{metric}{{{POD}{labels}}}", "values": values}


def stale(p99: float, workers: int, bound: int | None = None) -> Scene:
    """Nine tenths of the pushes of 2 updates or less, the others of `p99` or less."""
    buckets = (("2.0", "0+90x60"), (f"{p99:.1f}", "0+100x60"), ("+Inf", "0+100x60"))
    series = [
        shard("gradient_staleness_updates_bucket", values, f', le="{limit}"') for limit, values in buckets
    ]
    series.append(shard("connected_workers", f"{workers}x60"))
    return series + ([shard("staleness_bound_updates", f"{bound}x60")] if bound else [])


def checkpoint(age: str, interval: int = 60) -> Scene:
    return [shard("checkpoint_age_seconds", age), shard("checkpoint_interval_seconds", f"{interval}x60")]


def pushes(accepted: int, refused: int, why: str) -> Scene:
    """So many a minute."""
    rejected = shard("updates_rejected_total", f"0+{refused}x60", f', reason="{why}"')
    return [shard("updates_total", f"0+{accepted}x60"), rejected]


ERRORS, REFUSED = "reconcile_errors_total", 'status_refused_total{part="training"}'
RESTARTS = f'job_restarts_total{{{JOB}, role="worker", reason='
WAITS = [condition("Running", "false"), condition("Accepted", "true")]
UNSAVED = reason("CheckpointReady", "NeverSaved")
HUNG, FAILED, SERVED = ', state="hung"', ', result="failed"', ', op="push"'
PASSES, RUNNING = 'reconcile_total{result="success"}', one_of('jobs{phase="Running"}', "1x60")
MEMBERS = shard("connected_workers", "2x60")

FIRES: dict[str, tuple[Scene, Scene]] = {
    # alert: (series under which it fires within an hour, series under which it does not)
    "AsgdOperatorDown": ([one_of("leader", "0x60")], [one_of("leader", "1x60")]),
    "AsgdOperatorNotReconciling": ([one_of(PASSES, "7x60"), RUNNING], [one_of(PASSES, "0+1x60"), RUNNING]),
    "AsgdOperatorBehind": (
        [one_of("queue_oldest_age_seconds", "400x60")],
        [one_of("queue_oldest_age_seconds", "9x60")],
    ),
    "AsgdOperatorFailing": (
        [one_of(f'{ERRORS}{{reason="bug"}}', "0+1x60")],
        [one_of(f'{ERRORS}{{reason="transient"}}', "0+1x60")],
    ),
    "AsgdStatusRefused": ([one_of(REFUSED, "0x40 1x20")], [one_of(REFUSED, "7x60")]),
    "AsgdJobFailed": ([reason("Failed", "FatalExitCode")], [reason("Failed", "Diverged")]),
    "AsgdJobDiverged": ([reason("Failed", "Diverged")], [reason("Failed", "FatalExitCode")]),
    "AsgdJobRolledBack": ([shard("rollbacks_total", "0x40 1x20")], [shard("rollbacks_total", "1x60")]),
    "AsgdJobStuck": (
        [shard("updates_total", "70x60"), MEMBERS],
        [shard("updates_total", "70x60"), shard("connected_workers", "0x60")],
    ),
    "AsgdJobNotTraining": (
        [*WAITS, condition("Suspended", "false")],
        [*WAITS, condition("Suspended", "false", "0x60")],
    ),
    "AsgdJobDegraded": ([reason("Degraded", "NameTaken")], [reason("Degraded", "WorkerHung")]),
    "AsgdJobRestartsOften": (
        [one_of(f'{RESTARTS}"failure"}}', "0x40 1+1x20")],
        [one_of(f'{RESTARTS}"disruption"}}', "0x40 1+1x20")],
    ),
    "AsgdWorkerHung": (
        [shard("workers", "0x30 1x30", HUNG)],
        [shard("workers", "0x40 1x1 0x18", HUNG)],  # given up, and its successor joined a minute later
    ),
    "AsgdWorkerRejected": ([shard("rejected_workers", "1x60")], [shard("rejected_workers", "0x60")]),
    "AsgdStalenessHigh": (stale(32, workers=4), stale(32, workers=9)),
    "AsgdServerAtItsLimit": (
        [shard("request_duration_seconds_sum", "0+58x60", SERVED)],
        [shard("request_duration_seconds_sum", "0+50x60", SERVED)],
    ),
    "AsgdPushesRefused": (pushes(80, 20, "stale"), pushes(95, 5, "stale")),
    "AsgdCheckpointOld": (checkpoint("0+60x60"), checkpoint("60x60")),
    "AsgdCheckpointFailing": (
        [shard("checkpoints_total", "0+1x60", FAILED)],
        [shard("checkpoints_total", "0x50 1x10", FAILED)],
    ),
    "AsgdJobWithoutCheckpoint": (
        [UNSAVED, condition("Running", "true")],
        [UNSAVED, condition("Running", "true", "0x60")],
    ),
    "AsgdEvaluationFailing": ([shard("evaluation_failing", "1x60")], [shard("evaluation_failing", "0x60")]),
}
MORE = {
    # what else makes one fire, and what does not
    "its bound is passed": ("AsgdStalenessHigh", stale(32, workers=9, bound=16), True),
    "its bound is kept": ("AsgdStalenessHigh", stale(32, workers=4, bound=32), False),
    "rounds close without the slowest": ("AsgdPushesRefused", pushes(50, 50, "late"), False),
    "a long interval": ("AsgdCheckpointOld", checkpoint("0+60x60", interval=3600), False),
    "only its condition says so": ("AsgdCheckpointOld", [reason("CheckpointReady", "SaveFailed")], True),
    "a job that is suspended": (
        "AsgdCheckpointOld",
        [reason("CheckpointReady", "SaveFailed", phase="Suspended")],
        False,
    ),
    "it waits in its queue": (
        "AsgdJobNotTraining",
        [*WAITS, condition("Suspended", "false"), reason("Running", "Queued")],
        False,
    ),
    "a job that was suspended": ("AsgdOperatorNotReconciling", [one_of(PASSES, "7x60")], False),
    "went back long ago": ("AsgdJobRolledBack", [reason("Degraded", "RolledBack", "1x130")], False),
}
BY_CONDITION = {
    # alert: the reason by which it fires where only the operator is scraped
    "AsgdJobRolledBack": "RolledBack",
    "AsgdJobStuck": "Stalled",
    "AsgdWorkerHung": "WorkerHung",
    "AsgdWorkerRejected": "WorkerRejected",
    "AsgdStalenessHigh": "HighStaleness",
    "AsgdPushesRefused": "PushesRefused",
    "AsgdCheckpointOld": "CheckpointFailing",
    "AsgdEvaluationFailing": "EvaluationFailing",
}


def test_every_alert_has_a_scene_in_which_it_fires() -> None:
    assert FIRES.keys() == rules().keys()


def test_the_rules_please_the_linter_of_prometheus() -> None:
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS) == ""


@dataclass(frozen=True)
class Case:
    """Whether `alert` fires at a time after the first sample of the series `given`."""

    alert: str
    given: Scene
    fires: bool
    at: str = "1h"


def cases() -> dict[str, Case]:
    """By name."""
    found = {}
    for alert, (bad, good) in FIRES.items():
        found |= {f"{alert}: fires": Case(alert, bad, True), f"{alert}: rests": Case(alert, good, False)}
    found |= {
        f"{alert}: {what}": Case(alert, given, yes, "2h" if "ago" in what else "1h")
        for what, (alert, given, yes) in MORE.items()
    }
    for alert, why in BY_CONDITION.items():
        scene = [reason("Degraded", why, "_x30 1x30")]
        found[f"{alert}: by the job's condition where pods are not scraped"] = Case(alert, scene, True)
        found[f"AsgdJobDegraded: one alert is enough for {why}"] = Case("AsgdJobDegraded", scene, False)
    return found


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the cases in which promtool sees the alert fire, in one run: it expects none."""
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": case.given,
            "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": []}],
        }
        for name, case in cases().items()
    ]
    file = tmp_path_factory.mktemp("alerts") / "scenes.yaml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    said = promtool("test", "rules", file)
    found = re.findall(r"name: (.*),\n\s+alertname: (\w+), ", said)
    assert all(name.startswith(alert) for name, alert in found)
    assert len(found) == said.count("alertname: "), said
    return {name for name, _ in found}


@pytest.mark.parametrize("name", cases())
def test_an_alert_fires_when_it_should_and_only_then(name: str, fired: set[str]) -> None:
    assert (name in fired) is cases()[name].fires


def test_every_reason_of_degraded_that_has_no_alert_of_its_own_has_the_general_one() -> None:
    left_out = re.search(r'reason!~"([^"]+)"', rules()["AsgdJobDegraded"]["expr"])
    assert left_out
    assert {*left_out[1].split("|")} == {*BY_CONDITION.values()}


def test_alerts_ask_for_metrics_that_exist() -> None:
    known = {s.name for kind in families().values() for family in kind for s in family.samples}
    known |= {family.name for kind in families().values() for family in kind}
    asked = {
        name
        for rule in rules().values()
        for name in re.findall(r"\basgd_(?:operator|server|worker)_\w+", rule["expr"])
    }
    assert asked - known == set()
    assert len(asked) > 20


def test_each_alert_leads_to_its_section_of_the_runbook_and_each_section_is_of_an_alert() -> None:
    sections = re.findall(r"^### (Asgd\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sections == list(rules()), "in the order of the alerts"
    for alert, rule in rules().items():
        assert rule["annotations"]["runbook_url"] == f"RUNBOOK#{alert.lower()}"


def test_the_chart_carries_the_alerts_with_the_labels_and_the_address_of_the_runbook_that_were_asked_for() -> (
    None
):
    where = "https://wiki.example/asgd/runbook/"
    wanted = {"enabled": True, "labels": {"release": "prometheus"}, "runbookUrl": where}
    rule = one(template({"metrics": {"prometheusRule": wanted}}), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text().replace("RUNBOOK", where))
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_every_condition_and_exit_code_has_a_section_that_says_what_to_do() -> None:
    runbook = (CHART.parents[1] / "docs" / "runbook.md").read_text()
    codes = {value for name, value in vars(exitcodes).items() if name.isupper()}
    sections = set(re.findall(r"^### (.+)$", runbook, re.M))
    assert {f"Exit code {code}" for code in codes} <= sections
    assert {str(condition) for condition in REASONS} <= sections
