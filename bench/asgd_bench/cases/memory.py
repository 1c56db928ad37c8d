"""Memory of a parameter server: peak resident set of a real one under load over TCP, against what `model.py` says.

That is 4N x (1 + state), 70 MiB, and 8 MiB for each connection.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from asgd.errors import UserError
from asgd_bench import lanes, processes
from asgd_bench.model import server_bytes
from asgd_bench.ours import Pusher
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table
from asgd_bench.servers import Servers
from asgd_bench.system import Failed

NAME = "server-memory"
ABOUT = (
    "peak memory of a parameter server with 2 workers, for each optimizer and for strategies that keep more"
)
SLOW = False

PARAMETERS = 10_000_000
WORKERS = 2
UPDATES = 5
MIB = 1 << 20
KINDS: dict[str, tuple[int, list[str]]] = {
    "SGD": (0, []),
    "momentum": (1, ["optimizer.momentum=0.9"]),
    "Adam": (2, ["optimizer.name=adam"]),
    "DC-ASGD (a shadow for each worker)": (WORKERS, ["algorithm.name=dc-asgd"]),
    "SGD, pulls as int8 differences": (WORKERS, ["codec.pull=int8"]),
}
"""{what: (arrays beside the weights that the formula counts, fields of the job)}"""


def run(plan: Plan) -> list[Table]:
    """One table: measured once each, since memory hardly varies."""
    size = 100_000 if plan.tiny else PARAMETERS
    lines = []
    for name, (arrays, sets) in KINDS.items():
        plan.progress(f"memory: {name}")
        formula = server_bytes(size, arrays, WORKERS) / MIB
        try:
            sample = Sample(peak(size, sets))
        except (UserError, Failed) as error:
            lines.append(Line(name, [], str(error).splitlines()[0]))
            continue
        told = {"formula": f"{formula:,.0f}", "of it": f"{sample.value / formula:.0%}"}
        lines.append(Line(name, [sample], more=told))
    return [Table(f"one shard of {size / 1e6:g}M parameters, {WORKERS} workers", "MiB at most", lines)]


def peak(size: int, sets: list[str]) -> float:
    """MiB that a server holds at most while WORKERS workers push and pull."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as folder:
        # NB: over shared memory the workers' own gradients and weights would count as the server's.
        lane = f"exchange.lane={lanes.between_machines()}"
        servers = Servers(Path(folder), ["optimizer.learningRate=0.001", lane, *sets], local=False)
        try:
            threads = [
                threading.Thread(target=_push, args=(servers, i, size), daemon=True) for i in range(WORKERS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
                if thread.is_alive():
                    raise Failed("a worker did not get its updates through")
            return processes.peak_mib(servers.processes[0].pid)
        finally:
            servers.end()


def _push(servers: Servers, index: int, size: int) -> None:
    pusher = Pusher(servers.job, servers.environment, index, size, push=1e-3)
    for _ in range(UPDATES):
        pusher.update()
    pusher.centre.leave()
