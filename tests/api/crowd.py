"""Many jobs at once on the API tier, and what they cost the operator.

    python -m tests.api.crowd --jobs 40
    python -m tests.api.crowd --running 300 --silent 13

prints the figures of `docs/operate.md`: seconds until a job has its first child, requests to the API server for a job,
peak memory and CPU seconds of the operator.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

from asgd.spec.status import Status
from tests.api.acting import OperatorProcess, ShardZero, operator, until
from tests.api.conftest import CRD
from tests.api.kubelet import Kubelet, Notebook
from tests.cluster import api_tier
from tests.cluster.kubectl import Kubectl

NAMESPACE = "crowd"


def apply(kubectl: Kubectl, names: list[str], metrics_port: int) -> None:
    """One small job under each of `names`, all in one request of kubectl's."""
    # Figures that stand still are no stall here.
    patient = {"progressDeadlineSeconds": 86_400, "startupDeadlineSeconds": 86_400}
    spec = {"entrypoint": "m:f", "workers": {"replicas": 1}, "metrics": {"port": metrics_port}}
    # Nor is there a node, for which a scheduler would look again and again.
    spec |= {"runPolicy": patient, "scheduling": {"schedulerName": "nobody"}}
    kind = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob"}
    items = [kind | {"metadata": {"name": name}, "spec": spec} for name in names]
    many = {"apiVersion": "v1", "kind": "List", "items": items}
    kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(many))


def requests(process: OperatorProcess) -> dict[str, float]:
    """Those to the API server so far, by verb and resource; not the looks at what can be watched."""
    return {
        labels: count
        for labels, count in process.samples("asgd_operator_kube_requests_total").items()
        if count
    }


class Silent:
    """Takes connections and never answers, as a server behind a network that drops packets does."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        try:
            while True:
                self._taken.append(self._listener.accept()[0])
        except OSError:
            return


def displaced(notebook: Notebook, names: list[str]) -> int:
    """By how many places at most a job's first child came earlier or later than the job itself."""
    order = sorted(names, key=lambda name: notebook.first_child[name])
    arrival = sorted(names, key=lambda name: notebook.applied[name])
    return max(abs(order.index(name) - arrival.index(name)) for name in names)


def peak_mib(process: OperatorProcess) -> float:
    lines = Path(f"/proc/{process.process.pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def cpu_seconds(process: OperatorProcess) -> float:
    fields = Path(f"/proc/{process.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.api.crowd", description=__doc__)
    parser.add_argument("--jobs", type=int, default=40, help="applied at once")
    parser.add_argument("--running", type=int, default=0, help="jobs that run already")
    parser.add_argument("--silent", type=int, default=13, help="of those, how many never answer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asgd-crowd-") as folder:
        state = Path(folder) / "state"
        try:
            measure(api_tier.up(state, tied=True).kubectl, Path(folder), options)
        finally:
            api_tier.down(state)


def measure(kubectl: Kubectl, folder: Path, options: argparse.Namespace) -> None:
    kubectl("apply", "--server-side", "-f", str(CRD))
    until(lambda: kubectl.succeeds("get", "asgdjobs", "-A"), "the kind is served")
    kubectl("create", "namespace", NAMESPACE)
    shard, silent = ShardZero(), Silent()
    shard.status = Status(job="x", phase="running", algorithm="asgd", updates=7)
    kubelet, notebook = Kubelet(kubectl.kubeconfig), Notebook(kubectl.kubeconfig)
    try:
        if options.running:
            before = [f"old-{number}" for number in range(options.running)]
            with operator(kubectl, folder, QUEUE__PER_SECOND="1000", QUEUE__WORKERS="16") as quick:
                apply(kubectl, before[: options.silent], silent.port)
                apply(kubectl, before[options.silent :], shard.port)
                begun = time.monotonic()
                until(lambda: len(notebook.running) >= options.running, "all run", 1500)
                print(f"{options.running} jobs run after {time.monotonic() - begun:.0f} s")
                print(f"  {peak_mib(quick):.0f} MiB at most, {cpu_seconds(quick):.1f} CPU seconds")
        with operator(kubectl, folder) as process:
            if options.running:
                time.sleep(60)
                print(f"after a minute among them: {cpu_seconds(process):.1f} CPU seconds")
            crowd(kubectl, process, notebook, [f"new-{n}" for n in range(options.jobs)], shard.port)
    finally:
        for part in (kubelet, notebook, shard, silent):
            part.close()


def crowd(
    kubectl: Kubectl, process: OperatorProcess, notebook: Notebook, names: list[str], port: int
) -> None:
    """Applies `names` at once and prints what came of it."""
    before, cpu, begun, passes = requests(process), cpu_seconds(process), time.monotonic(), process.passes()
    apply(kubectl, names, port)
    until(lambda: all(name in notebook.running for name in names), "all run", 600)
    took = time.monotonic() - begun
    waits = notebook.waits(names)
    print(f"{len(names)} jobs at once: all run after {took:.1f} s; {process.passes() - passes:.0f} looks")
    print(f"  first child after {statistics.median(waits):.2f} s (median), {max(waits):.2f} s (last)")
    moved = displaced(notebook, names)
    print(f"  a job's place in the order of first children is at most {moved} away from that of arrival")
    print(f"  {peak_mib(process):.0f} MiB at most, {cpu_seconds(process) - cpu:.1f} CPU seconds")
    time.sleep(3)
    made = {labels: count - before.get(labels, 0) for labels, count in requests(process).items()}
    print(f"  {sum(made.values()) / len(names):.1f} requests for a job:")
    for labels, count in sorted(made.items(), key=lambda item: -item[1]):
        if count:
            print(f"    {count / len(names):5.2f} {labels}")


if __name__ == "__main__":
    main()
