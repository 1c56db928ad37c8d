"""Starts the processes of a run, each by the quickest way that is safe for it (`ways.py`).

Three fork servers: one has imported what a parameter server needs, one torch and what a worker needs, and a branch of
that one the user's code as well. The first two are started before anything else of a run, since nothing takes longer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from asgd.drivers.local.source import Source
from asgd.drivers.local.ways import Standing, way
from asgd.host.forking import ForkServer, Process, can_fork
from asgd.host.forkserver import Part
from asgd.host.private import private_folder
from asgd.host.ranks import without_ranks
from asgd.report import units
from asgd.spec.environment import HASH_SEED, Env
from asgd.worker.task.traces import Traces, obstacle

if TYPE_CHECKING:  # this module is loaded before all others: torch's import begins with it
    from asgd.drivers.local.patience import Patience

SERVER = ("asgd.cli", "asgd.server.service", "fsspec.implementations.local")
WORKER = ("torch", "asgd.cli", "asgd.session", "asgd.worker.preload")
"""What fork servers import."""
ALL_ALIKE = {"OMP_NUM_THREADS": "1"}
"""Set for every process unless the user has set them."""


@dataclass(frozen=True, slots=True)
class Order:
    """A process to be started. `main`, `argv`: as in `Part`; `module`: what `python -m` runs to the same end."""

    title: str
    main: str
    module: str
    argv: list[str]
    env: dict[str, str]
    log: Path


class Starter:
    """The processes of one run whose job file lies in `folder`. Used as a context manager it ends its fork servers."""

    def __init__(self, folder: Path) -> None:
        self._environment = {
            **ALL_ALIKE, **without_ranks(os.environ), **HASH_SEED, "PYTHONUNBUFFERED": "1",
            Env.PARENT: str(os.getpid()), Env.JOB_FOLDER: str(folder),
        }  # fmt: skip
        self._private = private_folder()
        self.log = self._private / "forkserver.log"
        """What fork servers print: most of it the user's code, while it is imported."""
        self._servers = Source("parameter servers", lambda: self._import(SERVER), _threads)
        self._torch = Source("workers", lambda: self._import(WORKER), _threads)
        self._entrypoint: Source | None = None
        self._kept = 0

    def begin(self) -> Self:
        """Starts to import torch, in a process beside this one."""
        if can_fork():
            self._torch.begin()
        else:
            self._torch.standing = self._servers.standing = Standing.OUT
        return self

    def begin_servers(self, patience: Patience) -> None:
        """Imports what parameter servers need. Raises UserError at the deadline."""
        if self._servers.standing is not Standing.OUT:
            self._servers.begin()
            self._wait(self._servers, "importing what parameter servers need", patience)

    def _import(self, modules: Sequence[str]) -> ForkServer:
        return ForkServer.start(modules, self._environment, self.log)

    # -- before training ---------------------------------------------------------------------------

    def import_torch(self, patience: Patience) -> None:
        """Waits until torch is imported. Raises UserError at the deadline."""
        self._wait(self._torch, "importing torch", patience)

    def import_entrypoint(self, job: Path, env: Mapping[str, str], what: str, patience: Patience) -> str:
        """Imports the user's code `what` of the file `job` in a branch of its own, if it can be.

        Returns a sentence for the person where processes can't be forked from it, or ''. Raises UserError when
        importing it fails or never ends.
        """
        if self._torch.standing is not Standing.READY:
            why = self._torch.why
            return f"each process imports torch and {what} itself, which takes longer: {why}" if why else ""
        part = Part("asgd.cli:main", ["worker"], {**env}, str(self.log), "asgd forkserver")
        self._entrypoint = Source(
            "the user's code",
            lambda: self._branch(part, job),
            _unfit,
        )
        self._entrypoint.begin()
        self._wait(self._entrypoint, f"importing {what}", patience)
        why = self._entrypoint.why
        return f"each process imports {what} itself: {why}" if why else ""

    def _branch(self, part: Part, job: Path) -> ForkServer:
        branch = self._torch.branch(part)
        branch.ask({"call": "asgd.worker.preload:preload", "args": [str(job)]})
        return branch

    def _wait(self, source: Source, doing: str, patience: Patience) -> None:
        def settled() -> bool:
            source.look()
            return source.standing is not Standing.IMPORTING

        patience.wait(doing, settled, lambda: [source.fileno()])

    # -- processes ---------------------------------------------------------------------------------

    def start_servers(self, orders: Sequence[Order]) -> list[Process]:
        """Starts parameter servers."""
        return self._start([self._servers], orders)

    def start_workers(self, orders: Sequence[Order]) -> list[Process]:
        """Starts what runs users' code: workers, the evaluator, the check."""
        return self._start([self._entrypoint, self._torch] if self._entrypoint else [self._torch], orders)

    def _start(self, sources: Sequence[Source], orders: Sequence[Order]) -> list[Process]:
        env = {name: value for order in orders for name, value in order.env.items()}
        place = way([source.standing for source in sources], env)
        if place is None:
            return [self._spawn(order) for order in orders]
        parts = [Part(order.main, order.argv, {**order.env}, str(order.log), order.title) for order in orders]
        # NB: one that has died without our knowledge is found out by the next look.
        return sources[place].fork(parts) or self._start(sources[place + 1 :], orders)

    def _spawn(self, order: Order) -> Process:
        with order.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", order.module, *order.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, **order.env},
                start_new_session=True,
            )

    # -- while the run goes on ---------------------------------------------------------------------

    def look(self) -> list[str]:
        """Starts fork servers again that have died; returns what there is to say about it."""
        return [said for source in self._sources if (said := source.look())]

    @property
    def _sources(self) -> list[Source]:
        return [self._servers, self._torch, *([self._entrypoint] if self._entrypoint else [])]

    @property
    def processes(self) -> list[tuple[int, int]]:
        """(index, pid) of the fork servers: 0 forks servers, 1 has torch, 2 the user's code as well."""
        found = [(index, source.process) for index, source in enumerate(self._sources)]
        return [(index, process.pid) for index, process in found if process and process.poll() is None]

    def keep_log(self, target: Path) -> None:
        """Appends to `target` what fork servers have printed since the last time; what has no room is left out."""
        text = self.log.read_bytes() if self.log.exists() else b""
        if len(text) > self._kept:
            with suppress(OSError), target.open("ab", buffering=0) as file:
                file.write(text[self._kept :])
            self._kept = len(text)

    def __enter__(self) -> Self:
        return self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the fork servers, not what they have forked."""
        for source in reversed(self._sources):
            source.close()
        shutil.rmtree(self._private, ignore_errors=True)


def _unfit(answer: Any) -> str:
    """Why no process can be forked from one that has imported the user's code."""
    why = obstacle(msgspec.convert(answer["traces"], Traces), script=answer["script"])
    return f"importing it {why}" if why else ""


def _threads(answer: Any) -> str:
    """Why nothing can be forked from a process that has just imported torch, or what servers need."""
    left = int(answer["threads"]) - 1
    return f"its imports left {units.plural(left, 'thread')} running" if left else ""
