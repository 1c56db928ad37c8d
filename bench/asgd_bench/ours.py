"""Our side of the update path: real parameter servers, and workers that push and pull by `Centre`, without torch.

Started like the peers and by the same rules (`peers/harness.py`). Workers push minus ones at a learning rate of 1, so
that each element of the weights counts the updates.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from asgd.host.allocator import keep_freed_memory
from asgd.kernel import F32
from asgd.spec import Job, job_from_json, job_to_json
from asgd.spec.environment import Env
from asgd.wire.control import Keys
from asgd.worker.sending.centre import IN_PLACE, open_centre
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from asgd_bench.peers import harness
from asgd_bench.servers import Servers


def options() -> argparse.Namespace:
    """The command line: what peers have, and our own choices."""
    parser = argparse.ArgumentParser(prog="python -m asgd_bench.ours")
    parser.add_argument("--parameters", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--endpoint", choices=("tcp", "ipc"), default="tcp")
    parser.add_argument("--lane", default="auto", help="as spec.exchange.lane")
    parser.add_argument("--encryption", choices=("Sealed", "None"), default="None")
    parser.add_argument("--set", action="append", default=[], help="a field of the job, as for asgd run")
    parser.add_argument("--host", default="127.0.0.1", help="where the servers listen")
    parser.add_argument("--network", default="", help="network namespace of the servers")
    parser.add_argument("--metrics", default="", help="host:port of the servers' exporter")
    parser.add_argument(
        "--folder", default="", help="where servers leave logs and addresses (default: nowhere)"
    )
    parser.add_argument(
        "--gradient", choices=("ones", "uniform"), default="ones", help="uniform: in [0, 1), for lossy codecs"
    )
    return parser.parse_args()


def start_servers(chosen: argparse.Namespace, folder: Path) -> Servers:
    """The servers that the command line asks for."""
    sets = [
        f"parameterServer.shards={chosen.shards}",
        f"network.encryption={chosen.encryption}",
        "optimizer.learningRate=1",
        f"exchange.lane={chosen.lane}",
        *chosen.set,
    ]
    return Servers(
        folder,
        sets,
        local=chosen.endpoint == "ipc",
        host=chosen.host,
        network=chosen.network,
        metrics=chosen.metrics,
    )


class Model:
    """What a worker that has built its model holds, in memory that it has touched."""

    def __init__(self, parameters: int) -> None:
        self.push: F32 = np.ones(parameters, np.float32)
        self.pull: F32 = np.ones(parameters, np.float32)


class Pusher:
    """One worker of the load: pushes `push`, the same for all parameters or (N,), and pulls the weights."""

    def __init__(
        self, job: Job, environment: dict[str, str], index: int, parameters: int, push: float | F32 = -1.0,
        model: Model | None = None,
    ) -> None:  # fmt: skip
        endpoints = environment[Env.SERVERS].split(",")
        sealed = job.spec.network.encryption != "None" and not endpoints[0].startswith("ipc:")
        keys = Keys.load(Path(environment[Env.KEYS])) if sealed else None
        # NB: a dataset size so large that no schedule or stop rule ever comes due.
        who = PeerIdentity(
            job=job.name,
            role="worker",
            index=index,
            incarnation=time.time_ns(),
            size=parameters,
            layout="bench",
            dataset=1 << 40,
            tensors=msgspec.json.encode([["w", [parameters]]]),
        )
        self._sequence = 0
        self.centre = open_centre(endpoints, keys, who, job.spec.codec, lane=job.spec.exchange.lane)
        shared = self.centre.segment
        own = shared or model or Model(parameters)
        self.gradient, self.weights = own.push, own.pull
        self.gradient[:] = push
        self._into = IN_PLACE if job.spec.exchange.read_in_place else self.weights
        self.centre.join(lambda: np.zeros(parameters, np.float32))
        taken = {channel.lane.name for channel in self.centre.channels}
        if job.spec.exchange.lane != "auto" and taken != {job.spec.exchange.lane}:
            raise SystemExit(f"asked for the lane {job.spec.exchange.lane}, got {', '.join(sorted(taken))}")
        self.centre.pull(self.weights)

    def update(self) -> None:
        """One push and pull; returns when every shard has answered."""
        self._sequence += 1
        self.centre.exchange(
            self.gradient, self._into, PushHeader(sequence=self._sequence, samples=32, steps=1, loss=1.0)
        )

    def look(self) -> list[float]:
        """Three elements of the weights as the servers hold them now."""
        self.centre.pull(self.weights)
        return harness.probe(self.weights)


def work(
    index: int,
    barrier: harness.Barrier,
    job: bytes,
    environment: dict[str, str],
    parameters: int,
    gradient: str,
) -> None:
    """A worker process of the load."""
    push: float | F32 = -1.0
    if gradient == "uniform":
        push = -np.random.default_rng(index).random(parameters, np.float32)
    keep_freed_memory()
    pusher = Pusher(job_from_json(job), environment, index, parameters, push)
    for turn in barrier.rounds(index, pusher.look):
        while turn():
            pusher.update()


def main() -> None:
    """Runs until the benchmark has enough."""
    chosen = options()
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as own:
        servers = start_servers(chosen, Path(chosen.folder or own))
        try:
            group = harness.ProcessGroup(chosen.workers)
            for index in range(chosen.workers):
                group.start(
                    work, index, group.barrier, job_to_json(servers.job), servers.environment, chosen.parameters,
                    chosen.gradient,
                )  # fmt: skip
            group.run()
        finally:
            servers.end()


if __name__ == "__main__":
    main()
