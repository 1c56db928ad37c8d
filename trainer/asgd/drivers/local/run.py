"""`asgd run`: a job on this machine, one process for each shard and worker, from the YAML that kubectl takes.

The parent never trains: it checks the user's input before anything starts, starts processes, shows what shard 0
says and writes it down. All decisions about training are shard 0's; Ctrl-C only asks it to stop. What dies is
`watch.py`'s.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from pathlib import Path

import msgspec

from asgd import exitcodes
from asgd.algorithms.registry import halves
from asgd.drivers import sent
from asgd.drivers.display import Display, MakeDisplay
from asgd.drivers.local import finish
from asgd.drivers.local.addresses import Ports, endpoints
from asgd.drivers.local.announcing import announce
from asgd.drivers.local.children import Children
from asgd.drivers.local.lasting import Lasting
from asgd.drivers.local.logged import loggers_of, without_loggers
from asgd.drivers.local.opening import look_at_code
from asgd.drivers.local.precheck import (
    check_checkpoint,
    check_optimizer,
    check_ports,
    lock_store,
    optimizer_states,
    take_up,
)
from asgd.drivers.local.profile import Profile
from asgd.drivers.local.signals import Interrupts
from asgd.drivers.local.starter import Starter
from asgd.drivers.local.watch import Watch
from asgd.drivers.output import Output, check_path, choose_output
from asgd.errors import TryAgain, UserError
from asgd.host.available import available_cores
from asgd.host.private import private_folder
from asgd.host.ranks import said_of_ranks
from asgd.host.threads import share, threads_told
from asgd.host.warned import Warned
from asgd.loggers.kinds import check_installed
from asgd.page import OFF
from asgd.page.about import about_run
from asgd.page.serving import Door, Serving
from asgd.record import run as recording
from asgd.report.history import HistoryWriter
from asgd.spec import Job, advice, dump_job
from asgd.spec.environment import Env
from asgd.spec.evaluators import may_evaluate
from asgd.spec.status import Status
from asgd.wire.ask import Asker, status_of
from asgd.wire.control import Keys
from asgd.wire.lanes import shm
from asgd.wire.messages import Bye, Command
from asgd.worker import left
from asgd.worker.task.check import Findings

POLL_SECONDS = 0.1
FINISH_SECONDS = 120.0
"""Longest wait for the last pushes and the last checkpoint. The final evaluation takes what it takes."""


class LocalRun:
    """One run of `job`, whose file lies in `folder`, into `output`."""

    def __init__(
        self,
        job: Job,
        folder: Path,
        output: Output,
        display: Display,
        interrupts: Interrupts,
        transport: str,
        starter: Starter,
        profile: Profile | None,
        page: str,
    ) -> None:
        self.profile = profile
        self.page = Serving(
            about_run(job.spec, job.name, output.folder, dump_job(job)),
            output.folder,
            Door(page),
            display.note,
        )
        self.job, self.output, self.display = job, output, display
        self._folder = folder
        self._starter = starter
        self.children = Children(output, starter)
        self._private = private_folder()
        self._servers = endpoints(job.spec.parameter_server.shards, transport, self._private)
        self._keys = Keys.make()
        self._keep = shm.Keep()
        self._asker: Asker | None = None
        self.interrupts = interrupts
        self.watch = Watch(job.spec, self.children, display.note, self._tell)
        self._loggers = loggers_of(job, self._private, output, display.note)
        self._warned = Warned(self._private / "warnings.jsonl", output.file("logs"))
        told = threads_told(job.spec, os.environ)
        self._threads = told or share(job.spec, available_cores(), evaluator=may_evaluate(job.spec))
        self._stop_reason = ""
        self._before: dict[str, int] | None = None
        """Restarts in earlier runs of the job."""
        self._store_trouble = Lasting(display.note, "training goes on without it", "checkpoints work again")
        self._disk_trouble = Lasting(display.note, "training goes on", "the run's files are written again")
        self._rejected: set[int] = set()
        self._said_addresses = False
        self._accepted = False
        """Nothing is wrong with the user's input."""
        self._stopped_at: float | None = None
        self.status: Status | None = None
        self.picture: finish.Picture | None = None
        self.obstacle = ""
        """Why this run can't be replayed."""

    # -- before anything starts --------------------------------------------------------------------

    def prepare(self) -> Findings:
        """Writes the job down and looks at the user's code, data, checkpoint and ports. Raises UserError."""
        self._write_private("job.json", without_loggers(self.job))
        self._write_private("keys.json", msgspec.json.encode(self._keys))
        left.sweep(self.output.extras)
        findings = look_at_code(
            self.job.spec, self._private / "job.json", self._places, self._starter, self.display
        )
        check_optimizer(self.job, findings)
        check_ports(self.job)
        self.output.locks.extend(lock_store(self.checkpoint_uri))
        restored = check_checkpoint(
            self.job, findings, self.checkpoint_uri, self._private.name, self.display.warn
        )
        take_up(restored, self.checkpoint_uri, self.output)
        self.obstacle = recording.obstacle(
            self.job.spec, script=findings.script, dataset=findings.dataset, restored=restored
        )
        code = sent.keep(self.job.spec.entrypoint, self._folder, self.output.folder)
        recording.begin(self.output.recording, code, self._threads)
        try:
            self.output.file("job.yaml").write_text(dump_job(self.job), encoding="utf-8")
        except OSError as error:
            self.output.file("job.yaml").unlink(missing_ok=True)
            raise UserError(f"--output: {self.output.folder} cannot be written: {error.strerror}") from error
        self._accepted = True
        self._keep_log()
        return findings

    def _keep_log(self) -> None:
        self._starter.keep_log(self.output.file("logs/forkserver.log"))

    def _write_private(self, name: str, data: bytes) -> None:
        path = self._private / name
        path.touch(mode=0o600)
        path.write_bytes(data)

    @property
    def checkpoint_uri(self) -> str:
        return self.job.spec.checkpoint.uri or self.output.checkpoints

    # -- the run -----------------------------------------------------------------------------------

    def run(self, findings: Findings) -> int:
        """Trains; returns the exit code. Raises UserError or TryAgain when the job can't go on."""
        self._asker = Asker(self._servers[0], self._keys)
        self.interrupts.begin_orderly()
        self._start(findings)
        self._start_page()
        with HistoryWriter(self.output.file("history.jsonl")) as history:
            while not self._over():
                self._watch()
                if status := self._ask_status():
                    self.status = status
                    self._before = status.restarts if self._before is None else self._before
                    history.record(status)
                    self.page.tell(status)
                    self.display.update(status)
                    self._store_trouble.look(status.checkpoint_error)
                    self._note_rejected(status)
                self._disk_trouble.look(history.trouble or self.children.trouble)
                self.children.wait(POLL_SECONDS)
        self.interrupts.end_orderly()
        self.page.close()
        if self.status and self.status.updates:
            self.picture = finish.Picture(self.output, self.job.name)
        self.children.end_trainers(self.job.spec.workers.drain_seconds, self.display.note)
        self.children.end_servers()
        self._loggers.finish()
        return self._exit_code()

    def _start(self, findings: Findings) -> None:
        spec = self.job.spec
        ports = Ports(spec.metrics.port if "metrics.port" in self.job.given else None)
        envs = {
            ("server", index): self._env(ports.next()) | {Env.BIND: endpoint}
            for index, endpoint in enumerate(self._servers)
        }
        envs |= {("worker", index): self._env(ports.next()) for index in range(spec.workers.replicas)}
        if may_evaluate(spec) and (findings.evaluates or halves(spec).strategy.oracle):
            envs["evaluator", 0] = self._env(ports.next())
        for name, more in self.profile.env(self.output).items() if self.profile else ():
            envs[name] |= more
        self.children.start(envs)
        self._loggers.start(self.output.folder.absolute().name, {})
        connect = self._env("127.0.0.1:0")
        self.output.file("connect.json").write_text(msgspec.json.encode(connect).decode(), encoding="utf-8")

    def _start_page(self) -> None:
        self.page.start()
        if said := self.page.lacks or (self.page.url and f"page at {self.page.url}"):
            self.display.note(said, matters=False)

    @property
    def _places(self) -> dict[str, str]:
        """Where users' code is looked for, where its warnings go, and how many threads it has."""
        return {
            Env.JOB_FOLDER: str(self._folder),
            Env.SOURCE: str(self._private / "source"),
            Env.WARNINGS: str(self._private / "warnings.jsonl"),
            Env.THREADS: str(self._threads),
        }

    def _env(self, metrics: str) -> dict[str, str]:
        return {
            **self._places,
            Env.EXTRAS: str(self.output.extras),
            Env.STATE: str(optimizer_states(self.checkpoint_uri, self.output)),
            Env.JOB: str(self._private / "job.json"),
            Env.KEYS: str(self._private / "keys.json"),
            Env.SERVERS: ",".join(self._servers),
            Env.CHECKPOINT: self.checkpoint_uri,
            Env.METRICS: metrics,
            Env.MEMORY: os.environ.get(Env.MEMORY, str(self._keep.path or "")),
            Env.RUN: self._private.name,
            Env.NODE: socket.gethostname(),
            Env.JOIN_TIMEOUT: "120",
            Env.RECORD: "" if self.obstacle else str(self.output.recording),
        }

    def _ask_status(self) -> Status | None:
        assert self._asker is not None
        try:
            with self.children.deaths() as deaths:
                return status_of(self._asker.ask(Command("status"), 1.0, deaths))
        except TryAgain:
            return None

    def _tell(self, message: Command | Bye) -> bool:
        assert self._asker is not None
        try:
            self._asker.ask(message, 2.0)
        except TryAgain:
            return False
        return True

    def _over(self) -> bool:
        self.interrupts.check()
        if self.watch.failure:
            raise self.watch.failure
        self._hold_stop()
        if self.status is None or not self.status.stop_reason:
            return False
        if self._stopped_at is None or self.status.phase == "evaluating":
            self._stopped_at = time.monotonic()
        return self.status.phase == "finished" or time.monotonic() - self._stopped_at > FINISH_SECONDS

    def _hold_stop(self) -> None:
        """Asks shard 0 to stop after a signal, and again should it have come back from before the stop."""
        reason = self.status.stop_reason if self.status else ""
        if self.interrupts.asked and not self._stop_reason:
            self._stop_reason = "interrupted"
            self.display.note(
                "stopping: workers finish their push, then a checkpoint (Ctrl-C again ends at once)"
            )
        self._stop_reason = self._stop_reason or reason
        if self._stop_reason and not reason:
            self._tell(Command("stop", self._stop_reason))

    def _note_rejected(self, status: Status) -> None:
        for worker in sorted({*status.ever_rejected} - self._rejected):
            self.display.note(
                f"worker-{worker} is not listened to for a time: what it sends wanders off from the others'"
            )
        self._rejected |= {*status.ever_rejected}

    # -- children ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        for said in self._starter.look():
            self.display.note(said)
        for said in self._warned.new():
            self.display.note(said)
        self._loggers.look()
        self.children.publish()
        self._say_addresses()
        self.watch.look(self.status)

    def _say_addresses(self) -> None:
        """Once every process serves its metrics: where."""
        if self._said_addresses:
            return
        told = [(child.name, self.children.announced(child)) for child in self.children.all.values()]
        if all(address is not None for _, address in told):
            self._said_addresses = True
            places = ", ".join(f"{name} :{a['metrics'].rpartition(':')[2]}" for name, a in told if a)
            self.display.note(f"metrics at http://127.0.0.1:PORT/metrics: {places}", matters=False)

    # -- the end -----------------------------------------------------------------------------------

    def counted(self, status: Status) -> Status:
        """`status` with all restarts of this run."""
        return msgspec.structs.replace(
            status, restarts=self.children.restarts(status.restarts, self._before or {})
        )

    def _exit_code(self) -> int:
        reason = self.status.stop_reason if self.status else ""
        if reason == "diverged":
            return exitcodes.DIVERGED
        if reason == "interrupted":
            return exitcodes.INTERRUPTED
        if self.status and self.status.evaluation_error:
            return exitcodes.NOT_EVALUATED
        return exitcodes.DONE

    def close(self) -> None:
        """Ends what still runs and removes sockets and keys."""
        self.children.kill()
        self.page.close()
        self._loggers.kill()
        for said in self._warned.new():
            self.display.note(said)
        if self._accepted:
            self._keep_log()
        self._starter.close()
        if self._asker:
            self._asker.close()
        self.output.file("connect.json").unlink(missing_ok=True)
        shutil.rmtree(self._private, ignore_errors=True)
        self._keep.remove()
        self.children.publish()


def run(
    job: Job, folder: Path, asked_output: str | None, starter: Starter, make_display: MakeDisplay,
    *, transport: str, profile: str | None = None, page: str = OFF,
) -> int:  # fmt: skip
    """Runs `job`, whose file lies in `folder`, here; returns the exit code. Raises UserError, TryAgain."""
    interrupts = Interrupts()
    interrupts.watch()
    check_path(folder, "JOB.yaml")
    check_installed(job.spec.logging)
    profiled = Profile.parse(profile, job.spec.workers.replicas) if profile else None
    with choose_output(job, asked_output) as output:
        with make_display(output.folder) as display:
            for line in (*advice(job), *said_of_ranks(os.environ)):
                display.note(f"warning: {line}")
            try:
                local = LocalRun(job, folder, output, display, interrupts, transport, starter, profiled, page)
            except UserError:
                output.discard()
                raise
            try:
                findings = _prepare(local)
                for line in findings.warnings:
                    display.note(f"warning: {line}")
                for line in announce(job, findings, output.folder):
                    display.note(line, matters=False)
                code = local.run(findings)
            finally:
                local.close()
            if local.status is None:
                raise TryAgain("no parameter server has told the job's state")
            status = local.counted(local.status)
        lost = finish.leave_files(
            job, status, output, local.checkpoint_uri, findings, local.picture, local.obstacle
        )
    if profiled:
        print(profiled.result(output), flush=True)
    if lost and code in (exitcodes.DONE, exitcodes.NOT_EVALUATED):
        raise TryAgain(lost)
    if lost:
        print(f"asgd: {lost}", file=sys.stderr)
    return code


def _prepare(local: LocalRun) -> Findings:
    try:
        return local.prepare()
    except UserError:
        local.output.discard()
        raise
