"""The boards fleet, job and operator with the data of real jobs, as pictures: what Grafana would draw, to be looked at.

    python -m tests.api.boards FOLDER [--minutes 4]

Three `asgd run`s of digits are the servers and workers of three AsgdJobs; pods are played for a real operator at a real
API server. A fourth job finds no quota, a fifth ends with exit code 2. A real Prometheus, from PATH or the test
cluster's cache, scrapes them all under the labels that the chart's monitors add, and has the chart's alerts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.api.acting import Job, OperatorProcess, free_port, operator, until
from tests.api.conftest import CRD
from tests.api.kubelet import Kubelet
from tests.cluster import api_tier, binaries
from tests.cluster.kubectl import Kubectl
from tests.local.scenes import Digits

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "charts/asgd-operator/files/alerts.yaml"
TRAINED: dict[str, dict[str, Any]] = {
    "digits": {"pace": 0.02},
    "letters": {"pace": 0.05, "workers": {"replicas": 3}, "exchange": {"staleness": {"max": 1, "policy": "Refuse"}}},
    "faces": {"pace": 0.1, "workers": {"replicas": 2}, "checkpoint": {"everySeconds": 20}},
}  # fmt: skip
LONG = {"progressDeadlineSeconds": 86_400, "startupDeadlineSeconds": 86_400}


def apply(kubectl: Kubectl, name: str, port: int = 9090, **spec: Any) -> None:
    """An AsgdJob in a namespace of its own; shard 0 answers at `port` of this machine."""
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    given = {
        "entrypoint": "m:f",
        "metrics": {"port": port},
        "runPolicy": LONG,
        "workers": {"replicas": 2},
    } | spec
    kind = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": name}}
    kubectl.apply(kind | {"spec": given}, namespace=name)


def targets(runs: dict[str, Digits], process: OperatorProcess) -> list[dict[str, Any]]:
    """What Prometheus scrapes, with the labels that the chart's monitors add."""
    own = {"namespace": "asgd-system", "pod": "asgd-asgd-operator-5d8f7c-x2x4z", "container": "operator"}
    found = [{"targets": [f"127.0.0.1:{process.port}"], "labels": own}]
    for name, run in runs.items():
        for process_name, row in run.rows().items():
            role, _, _ = process_name.partition("-")
            pod = f"{name}-{process_name}" + ("" if role == "server" else "-7xk2p")
            labels = {"namespace": name, "pod": pod, "container": "asgd", "asgd_dev_job_name": name}
            if row.get("metrics"):
                found.append({"targets": [row["metrics"]], "labels": labels | {"asgd_dev_role": role}})
    return found


@contextmanager
def prometheus(folder: Path, scraped: list[dict[str, Any]]) -> Iterator[str]:
    """Its address."""
    program = shutil.which("prometheus") or str(binaries.find("prometheus"))
    (folder / "targets.json").write_text(json.dumps(scraped), encoding="utf-8")
    jobs = [
        {
            "job_name": "asgd",
            "honor_labels": True,
            "file_sd_configs": [{"files": [str(folder / "targets.json")]}],
        }
    ]
    told = {"global": {"scrape_interval": "2s", "evaluation_interval": "5s"}, "scrape_configs": jobs}
    shutil.copy(ALERTS, folder / "alerts.yaml")
    (folder / "prometheus.yaml").write_text(
        yaml.safe_dump(told | {"rule_files": ["alerts.yaml"]}), encoding="utf-8"
    )
    where = f"127.0.0.1:{free_port()}"
    words = [program, f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*words, f"--web.listen-address={where}"], stdout=log, stderr=log)
    try:
        yield f"http://{where}"
    finally:
        process.terminate()
        process.wait()


def drawn(url: str, output: Path, minutes: float) -> None:
    """Writes the boards."""
    for board, chosen in (("fleet", []), ("operator", []), ("job", ["namespace=letters", "job=letters"])):
        command = [sys.executable, str(ROOT / "tools/draw_dashboards.py"), url, f"asgd-{board}"]
        command += [str(output / f"{board}.png"), "--minutes", f"{minutes:g}"]
        subprocess.run([*command, *(word for one in chosen for word in ("--set", one))], check=True)
        print(output / f"{board}.png", flush=True)


def look(kubectl: Kubectl, folder: Path, output: Path, minutes: float) -> None:
    """Has the jobs run for so long, with what happens to them, and draws."""
    kubectl("apply", "--server-side", "-f", str(CRD))
    until(lambda: kubectl.succeeds("get", "asgdjobs", "-A"), "the kind is served")
    with ExitStack() as stack:
        runs = {name: stack.enter_context(Digits(folder / name, **spec)) for name, spec in TRAINED.items()}
        process = stack.enter_context(operator(kubectl, folder, QUEUE__RESYNC_SECONDS="5"))
        kubelet = Kubelet(kubectl.kubeconfig)
        stack.callback(kubelet.close)
        for name, run in runs.items():
            run.until_updates(1)
            port = int(run.rows()["server-0"]["metrics"].rpartition(":")[2])
            replicas = TRAINED[name].get("workers", {"replicas": 4})["replicas"]
            devices = {"count": 1} if name == "faces" else {"count": 0}
            apply(kubectl, name, port, workers={"replicas": replicas, "devices": devices})
        url = stack.enter_context(prometheus(folder, targets(runs, process)))
        time.sleep(15 * minutes)
        apply(kubectl, "poor")
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none"},
            "spec": {"hard": {"pods": "0"}},
        }
        kubectl.apply(quota, namespace="poor")
        kubectl("-n", "poor", "delete", "pods", "--all", "--wait=false")
        apply(kubectl, "broken")
        until(lambda: kubectl("-n", "broken", "get", "job", "-o", "name"), "its workers exist")
        time.sleep(15 * minutes)
        Job(kubectl, "broken").end_pods("worker", "Failed", 2, "ValueError: my data is not there")
        runs["digits"].signal("worker-1", signal.SIGKILL)
        time.sleep(30 * minutes)
        drawn(url, output, minutes)


def main() -> None:
    """Draws into the folder that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.api.boards", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="asgd-boards-") as folder:
        state = Path(folder) / "state"
        try:
            kubectl = api_tier.up(state, tied=True).kubectl
            look(kubectl, Path(folder), options.folder.resolve(), options.minutes)
        finally:
            api_tier.down(state)


if __name__ == "__main__":
    main()
