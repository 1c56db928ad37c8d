"""Alerts and dashboard of the chart: written in metrics that exist, and each alert fires when it should."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.exposition import families

from asgd import exitcodes
from asgd_operator.constants import REASONS
from tests.chart.helm import CHART, one, template
from tests.chart.promtool import promtool

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
JOB = 'namespace="team", name="digits"'


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def queries() -> Iterator[str]:
    """Every expression of alerts and dashboard."""
    yield from (rule["expr"] for rule in rules().values())
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def one_of(metric: str, values: str) -> dict[str, str]:
    return {"series": f"asgd_operator_{metric}", "values": values}


def condition(kind: str, status: str, values: str = "1x60") -> dict[str, str]:
    return one_of(f'job_condition{{{JOB}, type="{kind}", status="{status}"}}', values)


ERRORS, REFUSED = "reconcile_errors_total", 'status_refused_total{part="training"}'
WAITS = [condition("Running", "false"), condition("Accepted", "true")]
UNSAVED = condition("CheckpointReady", "false")

FIRES = {
    # alert: (series under which it fires within an hour, series under which it does not)
    "AsgdOperatorDown": ([one_of("leader", "0x60")], [one_of("leader", "1x60")]),
    "AsgdOperatorBehind": (
        [one_of("queue_oldest_age_seconds", "400x60")],
        [one_of("queue_oldest_age_seconds", "9x60")],
    ),
    "AsgdOperatorFailing": (
        [one_of(f'{ERRORS}{{reason="bug"}}', "0+1x60")],
        [one_of(f'{ERRORS}{{reason="transient"}}', "0+1x60")],
    ),
    "AsgdStatusRefused": ([one_of(REFUSED, "0x40 1x20")], [one_of(REFUSED, "7x60")]),
    "AsgdJobFailed": ([condition("Failed", "true")], [condition("Failed", "true", "0x60")]),
    "AsgdJobDegraded": ([condition("Degraded", "true")], [condition("Degraded", "unknown")]),
    "AsgdJobNotTraining": (
        [*WAITS, condition("Suspended", "false")],
        [*WAITS, condition("Suspended", "false", "0x60")],
    ),
    "AsgdJobWithoutCheckpoint": (
        [UNSAVED, condition("Running", "true")],
        [UNSAVED, condition("Running", "true", "0x60")],
    ),
}


def test_every_alert_has_a_scene_in_which_it_fires() -> None:
    assert FIRES.keys() == rules().keys()


def test_the_rules_please_the_linter_of_prometheus() -> None:
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS) == ""


def fires(alert: str, given: list[dict[str, str]], folder: Path) -> bool:
    """Whether promtool sees `alert` an hour later."""
    expected = {"eval_time": "1h", "alertname": alert, "exp_alerts": []}
    scene = {"interval": "1m", "input_series": given, "alert_rule_test": [expected]}
    file = folder / "scene.yaml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [scene]}))
    said = promtool("test", "rules", file)
    assert not said or f"alertname: {alert}" in said, said
    return bool(said)


@pytest.mark.parametrize("alert", FIRES)
def test_an_alert_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    bad, good = FIRES[alert]
    assert fires(alert, bad, tmp_path)
    assert not fires(alert, good, tmp_path)


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    known = {s.name for kind in families().values() for family in kind for s in family.samples}
    known |= {family.name for kind in families().values() for family in kind}
    asked = {
        name for query in queries() for name in re.findall(r"\basgd_(?:operator|server|worker)_\w+", query)
    }
    assert asked - known == set()
    assert len(asked) > 12


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    whole = [re.sub(r"\$\w+", ".*", query) for query in queries()]
    file = tmp_path / "rules.yaml"
    made = [{"record": f"asgd:query{number}", "expr": query} for number, query in enumerate(whole)]
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": made}]}))
    assert promtool("check", "rules", file) == ""
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(ids) == len(set(ids))


def test_the_chart_carries_them_as_they_are_with_the_labels_that_were_asked_for() -> None:
    wanted = {"enabled": True, "labels": {"release": "prometheus"}}
    objects = template({"metrics": {"prometheusRule": wanted, "dashboard": wanted}})
    rule = one(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    assert rule["spec"]["groups"][0]["rules"][0]["annotations"]["runbook_url"].startswith("runbook.html#")
    board = one(objects, "ConfigMap", "asgd-asgd-operator-dashboard")
    assert board["data"]["asgd.json"] == DASHBOARD.read_text()
    assert {found["metadata"]["labels"]["release"] for found in (rule, board)} == {"prometheus"}


def test_every_alert_links_to_its_own_section_of_the_runbook_where_the_docs_are_served() -> None:
    runbook = (CHART.parents[1] / "docs" / "runbook.md").read_text()
    wanted = {"enabled": True, "runbook": "https://docs.example/asgd/"}
    rule = one(template({"metrics": {"prometheusRule": wanted}}), "PrometheusRule")
    for found in (found for group in rule["spec"]["groups"] for found in group["rules"]):
        name = found["alert"]
        assert f"\n### {name}\n" in runbook
        assert found["annotations"]["runbook_url"] == f"https://docs.example/asgd/runbook.html#{name.lower()}"


def test_every_condition_and_exit_code_has_a_section_of_the_runbook() -> None:
    runbook = (CHART.parents[1] / "docs" / "runbook.md").read_text()
    codes = {value for name, value in vars(exitcodes).items() if name.isupper()}
    sections = set(re.findall(r"^### (.+)$", runbook, re.M))
    assert {f"Exit code {code}" for code in codes} <= sections
    assert {str(condition) for condition in REASONS} <= sections
