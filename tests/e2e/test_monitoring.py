"""What looks at a running job from outside: a real Prometheus, told by the monitors of the chart, boards, its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.dashboards import queries

from tests.chart.helm import CHART
from tests.cluster import prometheus
from tests.cluster.prometheus import Prometheus
from tests.e2e.jobs import Job, paced, until
from tests.e2e.release import DEPLOYMENT, Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(600)

CHOSEN = {"namespace": "measured", "job": "measured", "__rate_interval": "30s"}
HAS_NOT_HAPPENED = {
    # part of a query: why a healthy job gives it no data
    " offset 1m": "marks of what is rare: a server starts again, a job goes back or fails",
    " > time() - 60": "another: the operator starts",
    "ALERTS{": "this Prometheus has no rules, and none would fire",
    "asgd_operator_job_reason": "no condition of the job needs a look",
    "asgd_operator_job_devices": "the job asks for no device",
    "[1h])) > 0": "no status that is refused, no object that cannot be read",
    "[1h]))) > 0": "no restart, no look that fails",
    'code!~"2.."': "no request may have failed",
}


@pytest.fixture(scope="module")
def job(release: Release) -> Iterator[Job]:
    found = release.job("measured")
    told = {"exchange": {"staleness": {"max": 64}}, "optimizer": {"learningRate": 0.03, "clipNorm": 10}}
    found.apply(paced(epochs=200, shards=2, page={}, **told)).trains_with(2)
    yield found
    found.delete()


@pytest.fixture
def scraper(release: Release, tmp_path: Path) -> Iterator[Prometheus]:
    started = prometheus.start(release.kubectl, tmp_path / "prometheus")
    yield started
    started.stop()


def value(scraper: Prometheus, promql: str) -> float:
    """The one sample that `promql` gives; -1 while there is none."""
    found = scraper.query(promql)
    return float(found[0]["value"][1]) if found else -1.0


def test_kubectl_asgd_open_leads_to_the_page_beside_shard_0_and_only_its_token_opens_it(
    release: Release, job: Job
) -> None:
    words = [sys.executable, "-m", "asgd.client.cli", "open", job.name, "-n", job.namespace, "--no-browser"]
    environment = os.environ | {"KUBECONFIG": str(release.cluster.kubeconfig)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as opens:
        try:
            assert opens.stdout is not None
            address = opens.stdout.readline().split()[0]
            plain, _, token = address.partition("?token=")
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            assert "What each worker does" in browser.open(address, timeout=60).read().decode()
            for wrong in (plain, f"{plain}state", f"{plain}?token={token[:-1]}"):
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(wrong, timeout=60)

            def line() -> str:
                told = json.load(browser.open(f"{plain}state", timeout=60))["state"]
                return str(told["say"]["line"])

            until(lambda: line().startswith("It "), "the page says how the job is")
        finally:
            opens.terminate()
    idle = job.run("exec", "measured-server-1", "-c", "page", "--", "cat", "/proc/1/cmdline")
    assert idle.startswith("sh"), "beside shard 1 there is no page"


def test_prometheus_finds_all_by_the_chart_s_monitors_and_agrees_with_status(
    release: Release, job: Job, scraper: Prometheus
) -> None:
    def healthy(pods: str) -> int:
        return sum(t["health"] == "up" and t["labels"]["pod"].startswith(pods) for t in scraper.targets())

    until(lambda: healthy(f"{DEPLOYMENT}-") == 1, "the operator is scraped")
    until(lambda: healthy("measured-server-") == 2, "both servers are scraped")
    until(lambda: healthy("measured-worker-") == 2, "both workers are scraped")
    assert value(scraper, 'asgd_operator_jobs{phase="Running"}') >= 1

    shard = 'asgd_server_samples_total{pod="measured-server-0"}'
    until(
        lambda: value(scraper, f"count_over_time({shard}[30s])") >= 14, "there is a series of half a minute"
    )
    told, speed = job.told(), value(scraper, f"rate({shard}[30s])")
    assert speed == pytest.approx(told["samplesPerSecond"], rel=0.25)
    workers = value(scraper, 'sum(rate(asgd_worker_samples_total{namespace="measured"}[30s]))')
    assert workers == pytest.approx(speed, rel=0.25)

    training = until(lambda: (t := job.status["training"])["updates"] > 50 and t, "status has figures")
    assert training["samplesPerSecond"] == pytest.approx(speed, rel=0.25)
    buckets = 'sum by (le) (asgd_server_gradient_staleness_updates_bucket{namespace="measured"})'
    for quantile, name in ((0.5, "stalenessP50"), (0.99, "stalenessP99")):
        limit = value(scraper, f"histogram_quantile({quantile}, {buckets})")
        # A histogram knows the bucket only: its bounds are the powers of two around the true value.
        assert limit / 2 - 1 <= training[name] <= 2 * limit + 1
    updates = 'asgd_server_updates_total{pod="measured-server-0"}'
    counted = until(
        lambda: (v := value(scraper, updates)) >= told["updates"] and v, "a scrape counts them too"
    )
    assert counted <= job.updates()
    restarts = 'asgd_operator_job_restarts_total{name="measured",role="server",reason="failure"}'
    assert value(scraper, restarts) == 0

    until(lambda: not without_data(scraper), "every query of a dashboard has data", 60)


def without_data(scraper: Prometheus) -> dict[str, str]:
    """{query: its panel} of the chart's dashboards that give none, though what they show has happened."""
    boards = [json.loads(path.read_text()) for path in (CHART / "files/dashboards").glob("*.json")]
    asked = {query: title for board in boards for title, query in queries(board, CHOSEN)}
    assert len(asked) > 90
    rare = {query for query in asked if any(part in query for part in HAS_NOT_HAPPENED)}
    assert len(rare) < 17, "the list is short"
    empty = {query: title for query, title in asked.items() if not scraper.query(query)}
    return {query: title for query, title in empty.items() if query not in rare}
