"""Dashboards of the chart: each query gives data where every series is there, each panel says what is right.

The series are what the code exposes, under the labels that the chart's monitors add, played to promtool. What a real
Prometheus has of a real job is asked in tests/e2e/test_monitoring.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from tools.dashboards import panels, queries
from tools.exposition import families

from tests.chart.helm import CHART, one, template
from tests.chart.promtool import promtool

BOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((CHART / "files/dashboards").glob("*.json"))
}
CHOSEN = {"namespace": "n", "job": "digits", "__rate_interval": "2m"}
PODS = {
    "server": "digits-server-0",
    "worker": "digits-worker-0-x2x4z",
    "operator": "asgd-asgd-operator-5d-8k",
}
RARE = {
    # series that are exposed only when it happens
    'asgd_operator_kube_requests_total{verb="PATCH", code="409"}': "1+1x60",
    'asgd_operator_watch_unreadable_total{resource="pods"}': "1+1x60",
    'asgd_operator_job_condition{namespace="n", name="over", type="Failed", status="true"}': "0x59 1",
    'ALERTS{alertname="AsgdJobFailed", alertstate="firing", namespace="n", name="over"}': "1x60",
}
RISES = {"asgd_server_term": "1x59 2", "process_start_time_seconds": "0x59 3600"}
"""Gauges that tell of a start a moment ago."""


def test_there_are_three_that_link_to_each_other() -> None:
    assert BOARDS.keys() == {"asgd-fleet", "asgd-job", "asgd-operator"}
    for uid, board in BOARDS.items():
        assert board["uid"] == uid
        assert board["tags"] == board["links"][0]["tags"] == ["asgd"]
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
    links = re.findall(r'"url": "/d/([\w-]+)\?', json.dumps(BOARDS["asgd-fleet"]))
    assert {*links} == {"asgd-job"}


@pytest.mark.parametrize("uid", BOARDS)
def test_every_panel_says_in_one_sentence_what_is_right_and_has_a_unit(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        says, title = panel["description"], panel["title"]
        assert 20 < len(says) < 200, title
        assert says.endswith("."), title
        if panel["type"] in ("timeseries", "stat"):
            assert panel["fieldConfig"]["defaults"]["unit"], title


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_fill_their_rows_and_none_lies_on_another(uid: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARDS[uid]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    bottom = 1 + max(y for _, y in taken)
    assert len(taken) == 24 * bottom, "no hole is left"


def test_workers_are_told_from_evaluators_which_have_series_of_the_same_names() -> None:
    for board in BOARDS.values():
        for title, query in queries(board, CHOSEN):
            for chosen in re.findall(r"asgd_worker_\w+\{([^}]*)\}", query):
                assert 'asgd_dev_role="worker"' in chosen, title


def series(kind: str, found: list[Metric]) -> list[dict[str, str]]:
    """Of one process, from an hour ago on: counters grow, all else stands still."""
    pod = {"namespace": "n", "pod": PODS[kind], "instance": f"{kind}:9090"}
    pod |= {} if kind == "operator" else {"asgd_dev_job_name": "digits", "asgd_dev_role": kind}
    return [
        {"series": f"{sample.name}{_labels(pod | sample.labels)}", "values": _values(family, sample)}
        for family in found
        for sample in family.samples
    ]


def _labels(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


def _values(family: Metric, sample: Any) -> str:
    if sample.name in RISES:
        return RISES[sample.name]
    return f"{max(sample.value, 1):g}{'+1' if family.type in ('counter', 'histogram') else ''}x60"


def test_every_query_gives_data_where_every_series_is_there(tmp_path: Path) -> None:
    """`count(QUERY) > bool 0` is 1 where it does; promtool complains of each query for which it is not."""
    given = [one for kind, found in families().items() for one in series(kind, found)]
    given += [{"series": name, "values": values} for name, values in RARE.items()]
    asked = {query: title for board in BOARDS.values() for title, query in queries(board, CHOSEN)}
    checks = [
        {"expr": f"count({query}) > bool 0", "eval_time": "1h", "exp_samples": [{"labels": "{}", "value": 1}]}
        for query in asked
    ]
    file = tmp_path / "scene.yaml"
    scene = {"interval": "1m", "input_series": given, "promql_expr_test": checks}
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": [scene]}))
    assert promtool("test", "rules", file) == ""
    assert len(asked) > 90


def test_the_chart_carries_them_as_they_are_with_the_labels_that_were_asked_for() -> None:
    wanted = {"enabled": True, "labels": {"release": "x"}, "annotations": {"grafana_folder": "Training"}}
    board = one(template({"metrics": {"dashboard": wanted}}), "ConfigMap", "asgd-asgd-operator-dashboards")
    assert {Path(name).stem: json.loads(text) for name, text in board["data"].items()} == BOARDS
    assert board["metadata"]["labels"]["release"] == "x"
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["metadata"]["annotations"] == {"grafana_folder": "Training"}
