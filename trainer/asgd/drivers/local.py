"""`asgd run`: a job on this machine, one process for each shard and worker, from the YAML that kubectl takes.

The parent never trains: it checks the user's input before anything starts, starts processes, restarts what
dies, shows what
shard 0 says and writes it down. All decisions about training are shard 0's; Ctrl-C only asks it to stop.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from asgd import exitcodes
from asgd.display import Display
from asgd.drivers import finish
from asgd.drivers.children import Child, Children
from asgd.drivers.output import Output, choose_output
from asgd.drivers.probe import Findings, probe
from asgd.errors import AsgdError, TryAgain, UserError
from asgd.report.history import HistoryWriter
from asgd.server.checkpoint import Store, locate
from asgd.spec import Job, advice, dump_job, job_to_json
from asgd.status import Status
from asgd.wire.ask import Asker
from asgd.wire.control import Keys
from asgd.wire.messages import Bye, Command, Done

POLL_SECONDS = 0.1
FINISH_SECONDS = 120.0
"""Longest wait for a final evaluation after training has stopped."""


class LocalRun:
    """One run of `job` into `output`."""

    def __init__(self, job: Job, output: Output, display: Display, transport: str) -> None:
        self.job, self.output, self.display = job, output, display
        self.children = Children(output)
        # NB: a socket's path may have 107 characters at most; the output folder's may be longer.
        self._private = Path(tempfile.mkdtemp(prefix="asgd-"))
        self._servers = _endpoints(job.spec.parameter_server.shards, transport, self._private)
        self._keys = Keys.make()
        self._asker: Asker | None = None
        self._signals: list[int] = []
        self._asked_to_stop = False
        self._said_addresses = False
        self._failure: AsgdError | None = None
        self._stopped_at: float | None = None
        self.status: Status | None = None

    # -- before anything starts --------------------------------------------------------------------

    def prepare(self) -> Findings:
        """Writes the job down and looks at the user's code, data, checkpoint and ports. Raises UserError."""
        self._write_private("job.json", job_to_json(self.job))
        self._write_private("keys.json", msgspec.json.encode(self._keys))
        findings = probe(self._private / "job.json")
        self._check_ports()
        self._check_checkpoint(findings)
        self.output.file("job.yaml").write_text(dump_job(self.job), encoding="utf-8")
        return findings

    def _write_private(self, name: str, data: bytes) -> None:
        path = self._private / name
        path.touch(mode=0o600)
        path.write_bytes(data)

    @property
    def checkpoint_uri(self) -> str:
        return self.job.spec.checkpoint.uri or self.output.checkpoints

    def _check_checkpoint(self, findings: Findings) -> None:
        found = locate(Store(self.checkpoint_uri), self.job.spec.checkpoint.restore, self._private.name)
        if found is None or not findings.layout:
            return
        _, folder, manifest = found
        if manifest.layout != findings.layout:
            raise UserError(
                f"spec.checkpoint.restore: {folder} holds a model of {manifest.size:,} parameters with layout"
                f" {manifest.layout}, but {self.job.spec.entrypoint} gives {findings.size:,} with layout"
                f" {findings.layout}; allowed: the same model, or another output or checkpoint.uri"
            )

    def _check_ports(self) -> None:
        if "metrics.port" not in self.job.given:
            return
        spec = self.job.spec
        for port in range(
            spec.metrics.port, spec.metrics.port + spec.parameter_server.shards + spec.workers.replicas + 1
        ):
            with socket.socket() as probe_socket:
                probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe_socket.bind(("127.0.0.1", port))
                except OSError as error:
                    raise UserError(
                        f"spec.metrics.port: {port} cannot be used on this machine ({error.strerror}); each process"
                        f" takes one from {spec.metrics.port} on; leave it out for any free ones"
                    ) from error

    # -- the run -----------------------------------------------------------------------------------

    def run(self, findings: Findings) -> int:
        """Trains; returns the exit code. Raises UserError or TryAgain when the job can't go on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._asker = Asker(self._servers[0], self._keys)
        self._start(findings)
        with HistoryWriter(self.output.file("history.jsonl")) as history:
            while not self._over():
                self._watch()
                if status := self._ask_status():
                    self.status = status
                    history.record(status)
                    self.display.update(status)
                time.sleep(POLL_SECONDS)
        self.children.end(("worker", "evaluator"), self.job.spec.workers.drain_seconds)
        self.children.end(("server",), 30.0)
        self.children.publish()
        return self._exit_code()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        if len(self._signals) > 1:
            self.children.kill()
            self.close()
            sys.exit(exitcodes.INTERRUPTED)

    def _start(self, findings: Findings) -> None:
        spec = self.job.spec
        ports = _Ports(spec.metrics.port if "metrics.port" in self.job.given else None)
        for index, endpoint in enumerate(self._servers):
            self.children.start("server", index, self._env(ports.next()) | {"ASGD_BIND": endpoint})
        for index in range(spec.workers.replicas):
            self.children.start("worker", index, self._env(ports.next()))
        if findings.evaluates:
            self.children.start("evaluator", 0, self._env(ports.next()))
        connect = self._env("127.0.0.1:0")
        self.output.file("connect.json").write_text(msgspec.json.encode(connect).decode(), encoding="utf-8")

    def _env(self, metrics: str) -> dict[str, str]:
        return {
            "ASGD_JOB": str(self._private / "job.json"),
            "ASGD_KEYS": str(self._private / "keys.json"),
            "ASGD_SERVERS": ",".join(self._servers),
            "ASGD_CHECKPOINT": self.checkpoint_uri,
            "ASGD_METRICS": metrics,
            "ASGD_RUN": self._private.name,
            "ASGD_NODE": socket.gethostname(),
            "ASGD_JOIN_TIMEOUT": "120",
        }

    def _ask_status(self) -> Status | None:
        assert self._asker is not None
        if self._signals and not self._asked_to_stop:
            self._asked_to_stop = self._tell(Command("stop", "interrupted"))
            self.display.note(
                "stopping: workers finish their push, then a checkpoint (Ctrl-C again ends at once)"
            )
        try:
            answer = self._asker.ask(Command("status"), 1.0)
        except TryAgain:
            return None
        if not isinstance(answer, Done) or len(answer.body) <= len(b"{}"):
            return None
        return msgspec.json.decode(answer.body, type=Status)

    def _tell(self, message: Command | Bye) -> bool:
        assert self._asker is not None
        try:
            self._asker.ask(message, 2.0)
        except TryAgain:
            return False
        return True

    def _over(self) -> bool:
        if self._failure:
            self.children.kill()
            raise self._failure
        if self.status is None or not self.status.stop_reason:
            return False
        self._stopped_at = self._stopped_at or time.monotonic()
        return self.status.phase == "finished" or time.monotonic() - self._stopped_at > FINISH_SECONDS

    # -- children ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        self.children.publish()
        self._say_addresses()
        for child, status in self.children.ended():
            if child.role == "server":
                self._server_ended(child, status)
            elif child.role == "worker":
                self._worker_ended(child, status)
            else:
                self._evaluator_ended(child, status)

    def _say_addresses(self) -> None:
        """Once every process serves its metrics: where."""
        if self._said_addresses:
            return
        told = [(child.name, self.children.announced(child)) for child in self.children.all.values()]
        if all(address is not None for _, address in told):
            self._said_addresses = True
            places = ", ".join(f"{name} :{a['metrics'].rpartition(':')[2]}" for name, a in told if a)
            self.display.note(f"metrics at http://127.0.0.1:PORT/metrics: {places}", matters=False)

    def _server_ended(self, child: Child, status: int) -> None:
        if status == exitcodes.USER_ERROR:
            self._failure = UserError(self.children.last_words(child).removeprefix("asgd: "))
        elif child.restarts >= self.job.spec.parameter_server.backoff_limit:
            self._failure = TryAgain(
                f"{child.name} ended {_how(status)} after {child.restarts} restarts"
                f" (spec.parameterServer.backoffLimit); its log: {self.children.log(child.role, child.index)}"
            )
        else:
            self.display.note(
                f"{child.name} ended {_how(status)}; it starts again from the newest checkpoint"
            )
            self.children.restart(child)

    def _worker_ended(self, child: Child, status: int) -> None:
        stopping = self.status is not None and bool(self.status.stop_reason)
        if status == exitcodes.DONE or stopping or status == exitcodes.DIVERGED:
            child.ended = status
            return
        if status == exitcodes.DRAINED:
            child.ended = status
            self.display.note(f"{child.name} has left (it was told to); the others go on")
            return
        log = self.children.log(child.role, child.index)
        if status == exitcodes.USER_ERROR:
            self._failure = UserError(self.children.last_words(child).removeprefix("asgd: "))
        elif child.restarts >= self.job.spec.workers.backoff_limit_per_index:
            child.ended = status
            self._given_up(child, status, log)
        else:
            self._say_lost(child)
            self.display.note(f"{child.name} ended {_how(status)}; it starts again ({log})")
            self.children.restart(child)

    def _given_up(self, child: Child, status: int, log: Path) -> None:
        self._say_lost(child)
        self.display.note(
            f"{child.name} ended {_how(status)} and is given up after {child.restarts} restarts"
            f" (spec.workers.backoffLimitPerIndex); its last words: {self.children.last_words(child)} ({log})"
        )
        alive = [c for c in self.children.all.values() if c.role == "worker" and c.ended is None]
        if len(alive) < self.job.spec.workers.min_replicas:
            self._failure = TryAgain(
                f"{len(alive)} workers are left, fewer than spec.workers.minReplicas:"
                f" {self.job.spec.workers.min_replicas}; the last one said: {self.children.last_words(child)}"
            )

    def _say_lost(self, child: Child) -> None:
        """Shard 0 need not wait for missing heartbeats: the newest member of this index is gone."""
        member = next((w for w in self.status.workers if w.index == child.index and w.state == "running"), None) \
            if self.status else None  # fmt: skip
        if member:
            self._tell(Bye("worker", child.index, member.incarnation, lost=True))

    def _evaluator_ended(self, child: Child, status: int) -> None:
        finishing = self.status is not None and self.status.phase in ("evaluating", "finished")
        if (
            status == exitcodes.DONE
            or finishing
            or child.restarts >= self.job.spec.workers.backoff_limit_per_index
        ):
            child.ended = status
            if status:
                self.display.note(
                    f"{child.name} ended {_how(status)}: {self.children.last_words(child)}"
                    f" ({self.children.log(child.role, child.index)})"
                )
            self._tell(Command("status"))
        else:
            self.display.note(f"{child.name} ended {_how(status)}; it starts again")
            self.children.restart(child)

    # -- the end -----------------------------------------------------------------------------------

    def _exit_code(self) -> int:
        reason = self.status.stop_reason if self.status else ""
        if reason == "diverged":
            return exitcodes.DIVERGED
        if reason == "interrupted":
            return exitcodes.INTERRUPTED
        return exitcodes.DONE

    def close(self) -> None:
        """Ends what still runs and removes sockets and keys."""
        self.children.kill()
        if self._asker:
            self._asker.close()
        self.output.file("connect.json").unlink(missing_ok=True)
        shutil.rmtree(self._private, ignore_errors=True)


class _Ports:
    """host:port for each process in turn: any free one, or a run of them."""

    def __init__(self, first: int | None) -> None:
        self._next = first

    def next(self) -> str:
        if self._next is None:
            return "127.0.0.1:0"
        port, self._next = self._next, self._next + 1
        return f"127.0.0.1:{port}"


def _endpoints(shards: int, transport: str, folder: Path) -> list[str]:
    if transport == "ipc":
        return [f"ipc://{folder}/server-{index}" for index in range(shards)]
    ports = []
    sockets = [socket.socket() for _ in range(shards)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
        ports.append(listener.getsockname()[1])
    for listener in sockets:
        listener.close()
    return [f"tcp://127.0.0.1:{port}" for port in ports]


def _how(status: int) -> str:
    if status >= 0:
        return f"with exit code {status}"
    return f"by signal {signal.Signals(-status).name}"


def run(job: Job, asked_output: str | None, *, quiet: bool, transport: str) -> int:
    """Runs `job` here; returns the exit code. Raises UserError, TryAgain."""
    output = choose_output(job, asked_output)
    with Display(quiet=quiet) as display:
        for line in advice(job):
            display.note(f"warning: {line}")
        local = LocalRun(job, output, display, transport)
        try:
            findings = local.prepare()
            display.note(_announce(job, findings, output), matters=False)
            code = local.run(findings)
        finally:
            local.close()
        if local.status is None:
            raise TryAgain("no parameter server has told the job's state")
        status: Any = local.status
    finish.leave_files(job, status, output, local.checkpoint_uri)
    return code


def _announce(job: Job, findings: Findings, output: Output) -> str:
    spec = job.spec
    data = f"{findings.dataset:,} samples" if findings.dataset else "a stream"
    return (
        f"{job.name}: {findings.size:,} parameters, {data}, {spec.parameter_server.shards} parameter servers,"
        f" {spec.workers.replicas} workers\nfiles in {output.folder}"
    )
