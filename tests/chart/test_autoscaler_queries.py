"""The queries of docs/how-to/autoscalers.md give the number of workers that the page says, by Prometheus' promtool."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.chart.helm import CHART
from tests.chart.promtool import promtool

PAGE = (CHART.parents[1] / "docs" / "how-to" / "autoscalers.md").read_text(encoding="utf-8")
JOB = 'namespace="team", asgd_dev_job_name="elastic", pod="elastic-server-0"'
OTHER = 'namespace="team", asgd_dev_job_name="other", pod="other-server-0"'
STALENESS = "asgd_server_gradient_staleness_updates"
SERIES = {
    f"asgd_server_advised_workers{{{JOB}}}": "6x60",
    f"asgd_server_advised_workers{{{OTHER}}}": "60x60",
    # 1,200 samples a second of 20 workers, whose pushes are 19 updates old
    f"asgd_server_samples_total{{{JOB}}}": "0+72000x60",
    f'asgd_server_workers{{{JOB}, state="running"}}': "20x60",
    f'asgd_server_workers{{{JOB}, state="lost"}}': "90x60",
    f"{STALENESS}_sum{{{JOB}}}": "0+1900x60",
    f"{STALENESS}_count{{{JOB}}}": "0+100x60",
}


def test_each_query_gives_a_number_of_workers(tmp_path: Path) -> None:
    (trigger,) = next(
        found["spec"]["triggers"]
        for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
        if (found := yaml.safe_load(block)).get("kind") == "ScaledObject"
    )
    throughput, staleness = re.findall(r"^```promql\n(.*?)^```", PAGE, re.M | re.S)
    advised = trigger["metadata"]["query"]
    smaller = f"({advised} <= {_bare(staleness)}) or {_bare(staleness)}"
    expected = {advised: 6, throughput: 15, staleness: 9, smaller: 6}
    checks = [
        {"expr": query, "eval_time": "1h", "exp_samples": [{"labels": "{}", "value": value}]}
        for query, value in expected.items()
    ]
    given = [{"series": name, "values": values} for name, values in SERIES.items()]
    scene = {"interval": "1m", "input_series": given, "promql_expr_test": checks}
    file = tmp_path / "scene.yaml"
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": [scene]}))
    assert promtool("test", "rules", file) == ""


def _bare(query: str) -> str:
    return "(" + re.sub(r"^#.*\n", "", query, flags=re.M).strip() + ")"
