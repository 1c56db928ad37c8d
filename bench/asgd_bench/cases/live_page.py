"""The price of the live page: updates/s of `asgd run` without it, with it, and while somebody has it open.

Whole runs of a small model for a fixed time, in turn: what the page costs is in the launcher, beside servers and
workers that want the same cores. So the price is in the CPU time of all processes for an update, which varies far less
than the speed of a run and is what the goal goes by; the launcher's own is told beside. A reader takes the state and
all deltas, as a browser does, and draws nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from asgd.page import DEFAULT, OFF, address
from asgd_bench import processes
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table
from asgd_bench.system import Failed

NAME = "page"
ABOUT = "updates/s of asgd run with the live page off, on, and open"
SLOW = True

WORKERS = 2
SECONDS = 5.0
LOOK_SECONDS = 0.1
NONE, IDLE, OPEN = "off", "on", "on, and open"
WHERE = {NONE: OFF, IDLE: DEFAULT, OPEN: DEFAULT}


def run(plan: Plan) -> list[Table]:
    """Three tables."""
    found: dict[str, list[Sample | None]] = {name: [] for name in WHERE}
    spent: dict[str, list[Sample | None]] = {name: [] for name in WHERE}
    failures: dict[str, str] = {}
    # NB: the price is less than a percent, which single rounds can't show.
    for number in plan.turns(1 if plan.tiny else 2):
        names = list(WHERE)
        for name in names[number % 3 :] + names[: number % 3]:
            plan.progress(f"round {number + 1}: {name}")
            found[name].append(None)
            spent[name].append(None)
            try:
                found[name][-1], spent[name][-1] = once(name, 1.0 if plan.tiny else SECONDS)
            except Failed as error:
                failures[name] = str(error)
    lines = [Line(name, samples, failures.get(name, "")) for name, samples in found.items()]
    title = f"asgd run, digits, 4,810 parameters, {WORKERS} workers"
    cost = [
        Line(name, [_per_cpu(s) for s in samples], failures.get(name, "")) for name, samples in found.items()
    ]
    launcher = [Line(name, samples, failures.get(name, "")) for name, samples in spent.items()]
    return [
        Table(title, "updates/s", lines, NONE),
        Table(f"CPU of {title}", "updates a CPU-second", cost, NONE),
        Table(f"the launcher of {title}", "ms of CPU a second", launcher, less_is_better=True),
    ]


def _per_cpu(sample: Sample | None) -> Sample | None:
    return Sample(1 / sample.cpu_seconds) if sample and sample.cpu_seconds else None


def once(name: str, seconds: float) -> tuple[Sample, Sample]:
    """One run: its updates/s with the CPU-seconds of all processes; the launcher's own CPU. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as text:
        folder = Path(text)
        spec = {
            "entrypoint": "asgd.examples.digits:task", "args": {"model": "mlp"}, "batchSize": 8,
            "workers": {"replicas": WORKERS}, "stopAfter": {"seconds": seconds},
        }  # fmt: skip
        job = {
            "apiVersion": "asgd.dev/v1alpha1",
            "kind": "AsgdJob",
            "metadata": {"name": "page"},
            "spec": spec,
        }
        (folder / "job.yaml").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "asgd.cli", "run", str(folder / "job.yaml"), "--quiet"]
        command += ["--output", str(folder / "out"), "--page", WHERE[name]]
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
            if name == OPEN:
                threading.Thread(target=_read, args=(folder / "out", process), daemon=True).start()
            own = _launcher(process.pid, folder / "out" / "history.jsonl")
            _, status, usage = os.wait4(process.pid, 0)
            # NB: wait4 has reaped it; Popen must not wait for it again.
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Failed((folder / "said").read_text(errors="replace").strip()[-160:])
        told = json.loads((folder / "out" / "summary.json").read_text(encoding="utf-8"))
        total = (usage.ru_utime + usage.ru_stime) / told["updates"]
        return Sample(told["updatesPerSecond"], total), Sample(1e3 * own)


def _launcher(pid: int, history: Path) -> float:
    """CPU-seconds of process `pid` itself for a second, from when the first worker has joined until it ends."""
    meter, began, spent = processes.Meter([pid]), 0.0, (0.0, 1.0)
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if not began and history.exists() and '"joined"' in history.read_text(encoding="utf-8"):
            meter, began = processes.Meter([pid]), time.monotonic()
        elif began:
            spent = meter.look(), time.monotonic() - began
        time.sleep(LOOK_SECONDS)
    return spent[0] / spent[1]


def _read(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Takes the whole state and then all deltas until the run is over."""
    where = folder / address.FILE
    while not where.exists() and process.returncode is None:
        time.sleep(0.02)
    with contextlib.suppress(OSError):
        url = where.read_text(encoding="utf-8").strip()
        with urllib.request.urlopen(f"{url}state", timeout=30) as answer:
            last = json.load(answer)["id"]
        with urllib.request.urlopen(f"{url}events?after={last}", timeout=30) as answer:
            while answer.read1():
                pass
