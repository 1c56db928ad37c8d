"""Start-up: the command line, a server until it serves, and what importing costs ours and the peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from asgd_bench import processes
from asgd_bench.environments import python_for
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table
from asgd_bench.servers import JOB, Servers
from asgd_bench.system import Failed

NAME = "startup"
ABOUT = "the command line, a parameter server until it serves, imports"
SLOW = False

COMMANDS: list[tuple[str, str, Sequence[str]]] = [
    ("asgd --help", "zmq", ["-m", "asgd.cli", "--help"]),
    ("import asgd.server", "zmq", ["-c", "import asgd.server.service"]),
    ("import torch (what a worker pays)", "torch", ["-c", "import torch"]),
    ("import ray", "ray", ["-c", "import ray"]),
    ("import mxnet", "mxnet", ["-c", "import mxnet"]),
]
OWN = 2
"""How many of them are ours."""
SERVE_SECONDS = 30.0
RUN_SECONDS = 120.0


def run(plan: Plan) -> list[Table]:
    """One table in seconds, with the peak memory of the server."""
    runs: dict[str, Callable[[], Sample]] = {"asgd server, from exec until it serves": serve}
    lines: list[Line] = []
    if not (plan.quick or plan.tiny):
        runs["asgd run with 4 workers, from exec to the first gradient"] = first_gradient
    for name, system, arguments in COMMANDS[:OWN] if plan.quick or plan.tiny else COMMANDS:
        try:
            runs[name] = _command([python_for(system), *arguments])
        except Failed as error:
            lines.append(Line(name, [], str(error)))
    samples: dict[str, list[Sample | None]] = {name: [] for name in runs}
    failures: dict[str, str] = {}
    for number in plan.turns():
        for name, measure in runs.items():
            plan.progress(f"round {number + 1}: {name}")
            samples[name].append(None)
            try:
                samples[name][-1] = measure()
            except Failed as error:
                failures[name] = str(error)
    lines = [Line(name, found, failures.get(name, "")) for name, found in samples.items()] + lines
    return [Table("from exec to done", "s", lines)]


def _command(command: Sequence[str]) -> Callable[[], Sample]:
    def measure() -> Sample:
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        # NB: wait4 has reaped it; Popen must not wait for it again.
        process.returncode = 0
        spent = usage.ru_utime + usage.ru_stime
        # NB: its ru_maxrss would begin with the memory of this process.
        return Sample(time.monotonic() - begin, spent)

    return measure


def serve() -> Sample:
    """One server, from its start until it says that it serves."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as folder:
        begin = time.monotonic()
        servers = Servers(Path(folder), [], local=True)
        try:
            told = Path(folder) / "server-0.json"
            while not told.exists():
                if time.monotonic() - begin > SERVE_SECONDS:
                    raise Failed(f"a server did not serve within {SERVE_SECONDS:.0f} s")
                time.sleep(0.002)
            took = time.monotonic() - begin
            pid = int(json.loads(told.read_text(encoding="utf-8"))["pid"])
            return Sample(took, processes.own_cpu_seconds(pid), processes.peak_mib(pid))
        finally:
            servers.end()


def first_gradient() -> Sample:
    """`asgd run` of the digits example, until a worker is about to compute its first gradient."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "job.yaml").write_text(JOB, encoding="utf-8")
        args = {"entrypoint": "asgd_bench.tasks:task", "args.example": "digits", "args.barrier": name}
        sets = [f"--set={field}={value}" for field, value in (args | {"workers.replicas": "4"}).items()]
        command = ["-m", "asgd.cli", "run", str(folder / "job.yaml"), "--output", str(folder / "out"), *sets]
        begin = time.monotonic()
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen([sys.executable, *command], stdout=said, stderr=said)
        try:
            while not any(folder.glob("ready-*")):
                if process.poll() is not None or time.monotonic() - begin > RUN_SECONDS:
                    words = (folder / "said").read_text(errors="replace").strip().splitlines()[-1:]
                    raise Failed(f"asgd run computed nothing within {RUN_SECONDS:.0f} s: {words}")
                time.sleep(0.002)
            return Sample(time.monotonic() - begin, processes.cpu_seconds(process.pid))
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a run at once: its second signal does that."""
    for _ in range(2):
        process.terminate()
        time.sleep(0.2)
    process.wait(RUN_SECONDS)
