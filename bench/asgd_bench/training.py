"""Our side of the training cases: a real job by real servers, workers and an evaluator, started together.

Servers are processes of their own; workers and the evaluator are forked from one process that has imported torch
(`forks.py`), since two seconds of imports for each would be most of a benchmark. The clock starts when every
worker has joined and holds its first batch: then the start barrier opens.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from asgd.errors import TryAgain
from asgd.host.forking import Process
from asgd.spec.environment import Env
from asgd.spec.status import Status
from asgd.wire.ask import Asker
from asgd.wire.messages import Command, Done
from asgd_bench import processes
from asgd_bench.forks import Forks
from asgd_bench.servers import Servers
from asgd_bench.system import Failed

READY_SECONDS = 90.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run. Times are seconds since all workers were let go."""

    seconds: float
    samples_per_second: float
    curve: list[tuple[float, dict[str, float]]]
    """Each evaluation: when its weights were pulled, and its metrics."""
    cpu_seconds: float
    status: Status

    def reached(self, metric: str, target: float) -> float | None:
        """When `metric` first was at least `target`."""
        return next((at for at, metrics in self.curve if metrics.get(metric, -1.0) >= target), None)


@dataclass(frozen=True, slots=True)
class Rule:
    """When a run ends: after `seconds`, or at `target` of `metric` after at least `least`, or by the job's own rule."""

    seconds: float
    metric: str = ""
    target: float = 0.0
    own: bool = False
    least: float = 0.0


def train(
    forks: Forks,
    sets: Sequence[str],
    args: Mapping[str, Any],
    rule: Rule,
    *,
    workers: int,
    evaluate: bool = True,
) -> Trained:
    """One run of the job with `sets` written over the defaults; `args` are those of `tasks.task`. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as name:
        folder = Path(name)
        own = [f"args.{key}={json.dumps(value)}" for key, value in args.items()]
        fields = ["entrypoint=asgd_bench.tasks:task", f"args.barrier={folder}", f"workers.replicas={workers}"]
        servers = Servers(folder, [*fields, *own, *sets], local=True)
        asker = Asker(servers.endpoints[0], None)
        forked: list[Process] = []
        try:
            forked = _fork(forks, ["worker"] * workers + ["evaluate"] * evaluate, servers, folder)
            _await_ready(folder, workers)
            return _watch(folder, rule, asker, [process.pid for process in (*forked, *servers.processes)])
        finally:
            for process in forked:
                process.kill()
                process.wait()
            servers.end()
            asker.close()


def _fork(forks: Forks, commands: list[str], servers: Servers, folder: Path) -> list[Process]:
    """Workers are numbered from 0; the evaluator comes last and is number 0 of its kind."""
    indices = [number if command == "worker" else 0 for number, command in enumerate(commands)]
    envs = [
        {**servers.environment, Env.INDEX: str(index), Env.METRICS: "", Env.JOIN_TIMEOUT: "60"}
        for index in indices
    ]
    logs = [folder / f"{command}-{index}.log" for command, index in zip(commands, indices, strict=True)]
    return forks.fork(commands, envs, logs)


def _await_ready(folder: Path, workers: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while len(list(folder.glob("ready-*"))) < workers:
        if time.monotonic() > deadline:
            words = [
                log.read_text(errors="replace").strip().splitlines()[-1:] for log in folder.glob("*.log")
            ]
            raise Failed(f"workers were not ready after {READY_SECONDS:.0f} s: {words}")
        time.sleep(POLL_SECONDS)


def _watch(folder: Path, rule: Rule, asker: Asker, pids: list[int]) -> Trained:
    cpu = processes.Meter(pids)
    begin = time.monotonic()
    (folder / "go").touch()
    status: Status | None = None
    seen: list[tuple[float, int]] = []
    while (now := time.monotonic() - begin) < rule.seconds:
        time.sleep(max(POLL_SECONDS, 0.1 if rule.seconds > 2 else 0))
        cpu.look()
        if found := _status(asker):
            status = found
            seen.append((time.monotonic() - begin, found.samples))
            if rule.own and found.phase == "finished":
                break
        met = rule.metric and any(m.get(rule.metric, -1.0) >= rule.target for _, m in _curve(folder, begin))
        if met and now >= rule.least:
            break
    if status is None:
        raise Failed("shard 0 did not answer")
    return Trained(now, rate(seen), list(_curve(folder, begin)), cpu.look(), status)


def rate(seen: Sequence[tuple[float, int]]) -> float:
    """Samples/s between the first status after the start that has any, and the last that brought more."""
    moving = [(at, samples) for at, samples in seen if samples]
    if len(moving) < 2 or moving[-1][0] <= moving[0][0]:
        return 0.0
    return (moving[-1][1] - moving[0][1]) / (moving[-1][0] - moving[0][0])


def _status(asker: Asker) -> Status | None:
    try:
        answer = asker.ask(Command("status"), 2.0)
    except TryAgain:
        return None
    if not isinstance(answer, Done) or len(answer.body) <= len(b"{}"):
        return None
    return msgspec.json.decode(answer.body, type=Status)


def _curve(folder: Path, begin: float) -> Iterator[tuple[float, dict[str, float]]]:
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines():
            metrics = json.loads(line)
            at = metrics.pop("at") - begin
            if at >= 0:
                yield at, metrics
