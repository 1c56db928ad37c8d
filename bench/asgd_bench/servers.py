"""The parameter servers of a job under measurement: real `asgd server` processes in a folder of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from asgd.drivers.local.starter import SERVER
from asgd.host.forking import ForkServer, Process, can_fork
from asgd.host.forkserver import Part
from asgd.spec import job_to_json, load_job
from asgd.spec.environment import Env
from asgd.wire.control import Keys
from asgd_bench.system import Failed

IMPORT_SECONDS = 60.0
JOB = """
apiVersion: asgd.dev/v1alpha1
kind: AsgdJob
metadata: {name: bench}
spec: {entrypoint: "none:needed"}
"""


class Servers:
    """Starts one server a shard. `sets` are fields of the job as `asgd run --set` takes them.

    `local`: over ipc, else TCP at `host` with the encryption that the job asks for. `network`: a namespace to start in.
    """

    def __init__(
        self, folder: Path, sets: Sequence[str], *, local: bool, host: str = "127.0.0.1", network: str = "",
        metrics: str = "", checkpoint: str = "", memory: str = "",
    ) -> None:  # fmt: skip
        (folder / "job.yaml").write_text(JOB, encoding="utf-8")
        # NB: a job without a stop rule would end after 20 epochs.
        never = [] if any(one.startswith("stopAfter.") for one in sets) else ["stopAfter.updates=1000000000"]
        self.job = load_job(str(folder / "job.yaml"), [*never, *sets])
        (folder / "job.json").write_bytes(job_to_json(self.job))
        (folder / "keys.json").write_bytes(msgspec.json.encode(Keys.make()))
        shards = self.job.spec.parameter_server.shards
        if local:
            self.endpoints = [f"ipc://{folder}/server-{shard}" for shard in range(shards)]
        else:
            self.endpoints = [f"tcp://{host}:{port}" for port in _ports(shards, elsewhere=bool(network))]
        self.environment = {
            "OMP_NUM_THREADS": "1",
            Env.JOB: str(folder / "job.json"),
            Env.KEYS: str(folder / "keys.json"),
            Env.SERVERS: ",".join(self.endpoints),
            Env.METRICS: metrics,
            Env.CHECKPOINT: checkpoint,
            Env.MEMORY: memory,
            Env.RUN: folder.name,
        }
        self._folder = folder
        self._prefix = ["ip", "netns", "exec", network] if network else []
        self.processes: list[Process] = [self.start(shard) for shard in range(shards)]

    def environment_of(self, shard: int) -> dict[str, str]:
        """What the server of `shard` is told."""
        return self.environment | {
            Env.INDEX: str(shard),
            Env.BIND: self.endpoints[shard],
            Env.PARENT: str(os.getpid()),
            Env.ANNOUNCE: str(self._folder / f"server-{shard}.json"),
        }

    def fork_server(self) -> ForkServer:
        """A process that has a server's imports behind it, as `asgd run` keeps one."""
        env = {**os.environ, **self.environment, Env.PARENT: str(os.getpid())}
        if not can_fork():
            raise Failed("servers can't be forked here; Linux is needed")
        server = ForkServer.start(SERVER, env, self._folder / "forkserver.log")
        if server.answer(IMPORT_SECONDS) is None:
            raise Failed(f"the fork server of servers did not answer within {IMPORT_SECONDS:.0f} s")
        return server

    def fork(self, forks: ForkServer, shard: int) -> Process:
        """Starts the server of `shard` again, forked from `forks`."""
        log = str(self._folder / f"server-{shard}.log")
        (process,) = forks.fork(
            [Part("asgd.cli:main", ["server"], self.environment_of(shard), log, f"asgd server {shard}")]
        )
        return process

    def start(self, shard: int) -> subprocess.Popen[bytes]:
        """Starts (again) the server of `shard`; it logs to server-SHARD.log and says its address in a .json beside."""
        command = [*self._prefix, sys.executable, "-m", "asgd.cli", "server"]
        with (self._folder / f"server-{shard}.log").open("ab") as log:
            return subprocess.Popen(
                command, env={**os.environ, **self.environment_of(shard)}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip

    def end(self) -> None:
        """Kills every server: nothing of a benchmark is worth a checkpoint."""
        for process in self.processes:
            process.kill()
            process.wait()


def _ports(count: int, *, elsewhere: bool) -> list[int]:
    """Free ports; in another network namespace those that no other benchmark process would take."""
    if elsewhere:
        first = 10_000 + os.getpid() * 8 % 20_000
        return [first + number for number in range(count)]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return found
