"""One `asgd run` as a subprocess: started, watched from outside, hurt, and always cleaned up.

Everything is seen as a user sees it: processes.json, history.jsonl, summary.json, the model file, and shard 0's
status over the control channel by connect.json. Every process of a run has the run's folder in its environment, so
orphans are found in /proc whatever became of their parent.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file

from asgd.errors import TryAgain
from asgd.report.summary import Summary
from asgd.report.summary import read as read_summary
from asgd.spec.status import Status
from asgd.wire.ask import Asker
from asgd.wire.control import Keys
from asgd.wire.messages import AnyMessage, Command, Done
from tests import warm
from tests.warm import AnyProcess

HERE = Path(__file__).parent
PATIENCE_SECONDS = 100.0
Found = TypeVar("Found")


class Run:
    """`asgd run` of a job whose spec is `spec`, into `folder`/out. Use as a context manager.

    `start` may be called again to continue; `options` are further arguments of the command.
    """

    NAME = "faults"

    def __init__(self, folder: Path, spec: dict[str, Any], *options: str, output: str = "out") -> None:
        self.folder, self.output, self.options = folder, folder / output, options
        self.job = folder / "job.yaml"
        document = {
            "apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": self.NAME}, "spec": spec
        }  # fmt: skip
        self.job.write_text(json.dumps(document), encoding="utf-8")
        self.process: AnyProcess | None = None

    def start(self, *more: str) -> Self:
        """Starts the command; `more` stands behind its options."""
        words = ["run", str(self.job), "--output", str(self.output), *self.options, *more]
        with (self.folder / "stdout").open("ab") as out, (self.folder / "stderr").open("ab") as err:
            self.process = warm.start(words, out, err, cwd=HERE, mark=self.folder)
        return self

    def __enter__(self) -> Self:
        return self.start() if self.process is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self.process is None or self.process.poll() is not None
        if self.process and not ended:
            self.process.kill()
            self.process.wait()
        left = self.orphans()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if ended and kind is None:
            assert not left, f"processes outlived the run: {left}"

    # -- what is seen ------------------------------------------------------------------------------

    def orphans(self) -> list[int]:
        """Processes of this run that are alive, the command itself left out."""
        mark = str(self.folder).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ, state = (entry / "environ").read_bytes(), (entry / "stat").read_text()
                except OSError:
                    continue
                if mark in environ and state.rpartition(")")[2].split()[0] != "Z":
                    found.append(int(entry.name))
        return found

    def rows(self) -> dict[str, dict[str, Any]]:
        """processes.json by `role-index`."""
        try:
            rows = json.loads((self.output / "processes.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {f"{row['role']}-{row['index']}": row for row in rows}

    def pid(self, name: str) -> int:
        """The pid of `worker-1`, `server-0`, `evaluator-0`."""
        return int(self.until(f"{name} runs", lambda: self.rows().get(name))["pid"])

    def connection(self) -> dict[str, str]:
        """connect.json, as soon as it is there."""
        path = self.output / "connect.json"
        self.until("connect.json is there", path.exists)
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def command(self, verb: str) -> AnyMessage | None:
        """What shard 0 answers to a command; None when it does not."""
        try:
            told = json.loads((self.output / "connect.json").read_text(encoding="utf-8"))
            keys = Keys.load(Path(told["ASGD_KEYS"]))
        except (OSError, ValueError):
            return None
        asker = Asker(told["ASGD_SERVERS"].split(",")[0], keys)
        try:
            return asker.ask(Command(verb), 2.0)
        except TryAgain:
            return None
        finally:
            asker.close()

    def status(self) -> Status | None:
        """Shard 0's status now; None when it does not answer."""
        answer = self.command("status")
        if not isinstance(answer, Done) or len(answer.body) <= len(b"{}"):
            return None
        return msgspec.json.decode(answer.body, type=Status)

    def metrics(self, name: str) -> dict[str, float]:
        """What a process tells Prometheus: {sample with its labels: value}."""
        address = self.until(f"{name} serves metrics", lambda: self.rows().get(name, {}).get("metrics"))
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {
            key: float(value)
            for key, value in re.findall(r"^(asgd_[^ {]+(?:{.*})?) (\S+)$", text, re.MULTILINE)
        }

    def summary(self) -> Summary:
        """summary.json."""
        return read_summary(self.output / "summary.json")

    def history(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind of history.jsonl."""
        lines = (self.output / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return [line for line in map(json.loads, lines) if line["kind"] == kind]

    def model(self) -> dict[str, npt.NDArray[np.float32]]:
        """model.safetensors."""
        return self.model_in(self.output)

    @staticmethod
    def model_in(folder: Path) -> dict[str, npt.NDArray[np.float32]]:
        """The same of any folder."""
        return load_file(folder / "model.safetensors")

    def manifests(self) -> list[dict[str, Any]]:
        """The manifests of all complete checkpoints, oldest first."""
        found = sorted((self.output / "checkpoints").glob("*/manifest.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    @property
    def stderr(self) -> str:
        """All that the command has said on stderr."""
        return (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")

    @property
    def said(self) -> str:
        """All that the command has said."""
        return (self.folder / "stdout").read_text(encoding="utf-8", errors="replace") + self.stderr

    # -- what is waited for ------------------------------------------------------------------------

    def until(self, what: str, look: Callable[[], Found], patience: float = PATIENCE_SECONDS) -> Found:
        """Looks until `look` gives something true; fails with the run's own words when it does not."""
        deadline = time.monotonic() + patience
        while not (found := look()):
            if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                pytest.fail(f"waited in vain until {what}\n{self.words()}", pytrace=False)
            time.sleep(0.05)
        return found

    def until_updates(self, least: int) -> Status:
        """Waits until shard 0 has accepted `least` pushes; returns the status then."""

        def look() -> Status | None:
            status = self.status()
            return status if status and status.updates >= least else None

        status = self.until(f"{least} updates are in", look)
        assert status is not None
        return status

    def until_says(self, text: str) -> None:
        """Waits until the command has said `text`."""
        self.until(f"it says {text!r}", lambda: text in self.said)

    def wait(self, patience: float = PATIENCE_SECONDS) -> int:
        """The command's exit code."""
        assert self.process is not None
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run did not end\n{self.words()}", pytrace=False)

    def words(self) -> str:
        """stderr and the ends of all logs, for a failing test."""
        parts = [self.said[-3000:]]
        for log in sorted((self.output / "logs").glob("*.log")):
            parts.append(f"-- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        return "\n".join(parts)

    def log(self, name: str) -> str:
        """A process's log."""
        return (self.output / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def process_by_hand(self, command: str, index: int, env: dict[str, str]) -> AnyProcess:
        """`asgd worker` or `asgd server` as a person would start it beside the run."""
        own = {"ASGD_INDEX": str(index), "ASGD_METRICS": "", "ASGD_RUN_FOLDER": str(self.output)}
        with (self.folder / "by-hand.log").open("ab") as log:
            return warm.start([command], log, log, cwd=HERE, env=os.environ | self.connection() | own | env)

    # -- what hurts --------------------------------------------------------------------------------

    def signal(self, name: str, number: signal.Signals) -> int:
        """Sends a signal to one process; returns its pid."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def signal_command(self, number: signal.Signals) -> None:
        """Sends a signal to `asgd run` itself."""
        assert self.process is not None
        self.process.send_signal(number)


class Counting(Run):
    """A run of `tasks:counting` over `epochs` epochs; `more` are further fields of the spec.

    A step takes as long as `pace` said last, so that a test can hold a run until something has happened, however
    slow the machine, and then let it go.
    """

    def __init__(
        self, folder: Path, epochs: float = 1000, *options: str, size: int = 512, shards: int = 2,
        workers: int | dict[str, Any] = 2, pace: float = 0.05, **more: Any,
    ) -> None:  # fmt: skip
        self.size = size
        self._pace = folder / "pace"
        self.pace(pace)
        spec: dict[str, Any] = {
            "entrypoint": "tasks:counting",
            "args": {"size": size, "pace": str(self._pace)} | more.pop("args", {}),
            "parameterServer": {"shards": shards},
            "workers": workers if isinstance(workers, dict) else {"replicas": workers},
            "optimizer": {"learningRate": 1},
            "batchSize": 8,
            "stopAfter": {"epochs": epochs},
        }
        super().__init__(folder, spec | more, *options)

    def pace(self, seconds: float) -> None:
        """From now on a step takes about `seconds`."""
        partial = self._pace.with_suffix(".partial")
        partial.write_text(str(seconds), encoding="utf-8")
        partial.replace(self._pace)

    def finish(self) -> int:
        """Lets the run go as fast as it can; its exit code."""
        self.pace(0)
        return self.wait()

    def interrupt(self) -> int:
        """One Ctrl-C; the exit code."""
        self.signal_command(signal.SIGINT)
        return self.finish()
