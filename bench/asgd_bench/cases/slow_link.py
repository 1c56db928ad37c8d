"""An emulated 1 Gbit/s link: servers and workers in network namespaces of their own, joined by a veth pair under tbf.

There bytes decide. Needs root and iproute2; the namespaces are gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from asgd_bench import lanes
from asgd_bench.codecs import CODECS, LOSSY, allowed
from asgd_bench.plan import Plan
from asgd_bench.results import Table
from asgd_bench.system import Failed, System
from asgd_bench.systems import BF16, Maker, make_all, our, peer

NAME = "slow-link"
ABOUT = "1 Gbit/s between servers and workers (network namespaces), 10M parameters, 2 workers"
SLOW = True

PARAMETERS = 10_000_000
WORKERS = 2
LINE_BYTES = 125_000_000
RATE = "1gbit"
SERVER, WORKER = "10.231.7.1", "10.231.7.2"


def run(plan: Plan) -> list[Table]:
    """One table; what share of both directions' 250 MB/s the fp32 updates fill stands in its note."""
    size = 100_000 if plan.tiny else PARAMETERS
    with link(f"asgd{os.getpid() % 10000}") as (servers, workers):
        place = (f"--network={servers}", f"--host={SERVER}")
        lane = lanes.between_machines()
        field: list[tuple[str, Maker]] = [("ours", our(lane, *place))]
        for name, sets in CODECS.items():
            if name != "fp32" and allowed(sets):
                fields = [f"--set={one}" for one in sets]
                lossy = name.startswith(LOSSY)
                # NB: equal entries are no problem that top-k was made for.
                fields += ["--gradient=uniform"] if lossy else []
                field.append((f"ours, {name}", our(lane, *place, *fields, exact=not lossy, tolerance=BF16)))
        field.append(("bare TCP sockets (limit)", peer("numpy", "bare_sockets", *place)))
        systems, refused = make_all(field, size, WORKERS)
        inside = [_within(one, workers) for one in systems]
        lines = plan.measure(inside, refused=refused, seconds=0.5 if plan.tiny else 3.0)
    limit = LINE_BYTES / (4 * size)
    note = f"The line carries {limit:.3g} fp32 updates/s: {LINE_BYTES / 1e6:.0f} MB/s each way."
    return [
        Table(
            f"1 Gbit/s, {size / 1e6:g}M parameters, {WORKERS} workers", "updates/s", lines, "ours", note=note
        )
    ]


def _within(system: System, network: str) -> System:
    return replace(system, command=["ip", "netns", "exec", network, *system.command])


@contextmanager
def link(name: str) -> Iterator[tuple[str, str]]:
    """Two namespaces joined at RATE; gives (the servers', the workers'). Raises Failed without root or iproute2."""
    if os.geteuid() != 0:
        raise Failed("needs root, to make network namespaces")
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            raise Failed(f"needs {tool} (iproute2)")
    ends = [(f"{name}s", SERVER), (f"{name}w", WORKER)]
    try:
        for space, _ in ends:
            _do("ip", "netns", "add", space)
        veth = [space for space, _ in ends]
        _do(
            "ip",
            "link",
            "add",
            veth[0],
            "netns",
            veth[0],
            "type",
            "veth",
            "peer",
            "name",
            veth[1],
            "netns",
            veth[1],
        )
        for space, address in ends:
            _do("ip", "-n", space, "address", "add", f"{address}/24", "dev", space)
            for device in ("lo", space):
                _do("ip", "-n", space, "link", "set", device, "up")
            shape = ["rate", RATE, "burst", "256kb", "latency", "50ms"]
            _do("tc", "-n", space, "qdisc", "add", "dev", space, "root", "tbf", *shape)
        yield ends[0][0], ends[1][0]
    finally:
        for space, _ in ends:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
