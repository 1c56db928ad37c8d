"""Our own update path under load: real servers, and workers that compute nothing and only push and pull.

    python -m asgd_bench.load --parameters 10000000 --workers 2 --shards 1 --lane tcp

Each worker pushes a whole gradient and takes the whole weights back, over and over, for `seconds` after all have
joined; what is counted is accepted pushes. No torch anywhere, as in a server.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from asgd.host.env import read_config
from asgd.spec.environment import Env
from asgd.wire.control import Keys
from asgd.worker.sending.centre import IN_PLACE, open_centre
from asgd.worker.sending.headers import PeerIdentity, PushHeader

WARM_UP = 3
"""Exchanges of each worker before the clock starts."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured. `spec`: fields of the job written over the defaults."""

    parameters: int = 10_000_000
    workers: int = 2
    shards: int = 1
    transport: str = "tcp"
    """tcp | ipc"""
    encryption: str = "None"
    lane: str = "auto"
    """auto | zmq | tcp | shm"""
    in_place: bool = False
    """Over shm: nobody copies weights."""
    seconds: float = 5.0
    spec: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out: `cpu_seconds` of all servers and workers together, per update."""

    updates_per_second: float
    cpu_seconds_per_update: float
    server_peak_mib: float
    """Peak resident memory of the largest server."""
    lanes: str
    """What the workers went over in truth."""


def measure(load: Load) -> Measured:
    """Runs servers and workers for `load.seconds`. Raises RuntimeError when one of them dies."""
    folder = Path(tempfile.mkdtemp(prefix="asgd-load-"))
    children: list[subprocess.Popen[str]] = []
    try:
        env = _environment(load, folder)
        servers = [
            _start(["-m", "asgd.cli", "server"], env | {Env.BIND: endpoint}, index, folder, children)
            for index, endpoint in enumerate(env[Env.SERVERS].split(","))
        ]
        own = ["-m", "asgd_bench.load", "--child", str(load.parameters), "--seconds", str(load.seconds)]
        workers = [_start(own, env, index, folder, children) for index in range(load.workers)]
        lanes = sorted({lane for worker in workers for lane in _hear(worker, folder)["lanes"]})
        before = sum(_cpu_seconds(server.pid) for server in servers)
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [_hear(worker, folder) for worker in workers]
        cpu = sum(_cpu_seconds(server.pid) for server in servers) - before + sum(t["cpu"] for t in told)
        updates = sum(t["updates"] for t in told)
        seconds = max(t["seconds"] for t in told)
        peak = max(_peak_mib(server.pid) for server in servers)
        return Measured(updates / seconds, cpu / updates, peak, ",".join(lanes))
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for worker in children[load.shards :]:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(5)
        for child in children:
            child.kill()
        for child in children:
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _environment(load: Load, folder: Path) -> dict[str, str]:
    spec = {
        "entrypoint": "nobody:asks",
        "parameterServer": {"shards": load.shards},
        "network": {"encryption": load.encryption},
        "exchange": {"lane": load.lane, "readInPlace": load.in_place},
        "optimizer": {"learningRate": 1e-3},
        "stopAfter": {"updates": 1 << 40},
        **load.spec,
    }
    (folder / "job.json").write_text(json.dumps({"metadata": {"name": "load"}, "spec": spec}))
    (folder / "keys.json").write_bytes(msgspec.json.encode(Keys.make()))
    return {
        **os.environ,
        Env.JOB: str(folder / "job.json"),
        Env.KEYS: str(folder / "keys.json"),
        Env.SERVERS: ",".join(_endpoints(load, folder)),
    }


def _endpoints(load: Load, folder: Path) -> list[str]:
    if load.transport == "ipc":
        return [f"ipc://{folder}/{index}" for index in range(load.shards)]
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(load.shards)]
    ports = [listener.getsockname()[1] for listener in with_ports]
    for listener in with_ports:
        listener.close()
    return [f"tcp://127.0.0.1:{port}" for port in ports]


def _start(
    command: list[str], env: dict[str, str], index: int, folder: Path, children: list[subprocess.Popen[str]]
) -> subprocess.Popen[str]:
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, *command],
            env=env | {Env.INDEX: str(index)},
            stdin=subprocess.PIPE,
            stdout=log if command[1] == "asgd.cli" else subprocess.PIPE,
            stderr=log,
            text=True,
        )
    children.append(child)
    return child


def _hear(worker: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker died:\n{(folder / 'log').read_text()[-3000:]}")
    return dict(json.loads(line))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# -- a worker ----------------------------------------------------------------------------------------


def _work(size: int, seconds: float) -> None:
    config = read_config()
    spec = config.job.spec
    identity = PeerIdentity(
        job="load",
        role="worker",
        index=config.index,
        incarnation=config.incarnation,
        size=size,
        layout="layout",
    )
    centre = open_centre(config.servers, config.keys, identity, spec.codec, lane=spec.exchange.lane)
    shared = centre.segment
    push = shared.push if shared else np.empty(size, np.float32)
    pull = shared.pull if shared else np.empty(size, np.float32)
    into = IN_PLACE if spec.exchange.read_in_place else pull
    push[:] = np.random.default_rng(config.index).standard_normal(size, np.float32)
    centre.join(lambda: np.zeros(size, np.float32))

    sequences = count(1)

    def exchange() -> None:
        outcome = centre.exchange(push, into, PushHeader(sequence=next(sequences), samples=1, steps=1))
        if set(outcome.verdicts) != {"applied"}:
            raise RuntimeError(f"a push was not applied: {outcome}")

    centre.pull(pull)
    for _ in range(WARM_UP):
        exchange()
    print(json.dumps({"lanes": sorted({channel.lane.name for channel in centre.channels})}), flush=True)
    sys.stdin.readline()
    updates, began, cpu = 0, time.monotonic(), _own_cpu()
    while time.monotonic() - began < seconds:
        exchange()
        updates += 1
    took = time.monotonic() - began
    print(json.dumps({"updates": updates, "seconds": took, "cpu": _own_cpu() - cpu}), flush=True)
    sys.stdin.readline()
    centre.leave()


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description="the update path under load")
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--transport", choices=("tcp", "ipc"), default="tcp")
    parser.add_argument("--encryption", choices=("None", "Sealed"), default="None")
    parser.add_argument("--lane", choices=("auto", "zmq", "tcp", "shm"), default="auto")
    parser.add_argument("--in-place", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child is not None:
        _work(asked.child, asked.seconds)
        return
    load = Load(
        parameters=asked.parameters,
        workers=asked.workers,
        shards=asked.shards,
        transport=asked.transport,
        encryption=asked.encryption,
        lane=asked.lane,
        in_place=asked.in_place,
        seconds=asked.seconds,
    )
    print(json.dumps(asdict(measure(load))))


if __name__ == "__main__":
    main()
