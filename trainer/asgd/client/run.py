"""`asgd.client.Run`: an AsgdJob on a cluster, asked in the words of the run that `asgd.run` returns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from asgd.client.access import KIND, Access, Document, connect_to
from asgd.client.documents import condition, ended, exit_code, part, suspended
from asgd.client.following import Follower
from asgd.client.logs import Choice, Following, chosen, read
from asgd.client.shard import Shard
from asgd.drivers.display import Display
from asgd.errors import RunFailed, UserError
from asgd.interactive.base import BaseRun
from asgd.interactive.notebook import NotebookView, in_notebook
from asgd.interactive.table import Row, rows
from asgd.report import lines
from asgd.spec.status import Status

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_ROWS = 100_000
"""Of the history; then every other one goes."""


class Run(BaseRun):
    """One AsgdJob: `job` is its newest document, `phase` its phase.

    It lives on the cluster, whatever becomes of this process: `Run.open(name)` finds it again.
    """

    def __init__(self, access: Access, name: str, *, quiet: bool = False) -> None:
        self.name, self.access = name, access
        self._quiet = quiet
        self._told: Status | None = None
        self._lines: list[Any] = []

    @classmethod
    def open(
        cls, name: str, *, namespace: str = "", context: str = "", kubeconfig: str = "", quiet: bool = False
    ) -> Self:
        """The job of this name. Raises ApiError where there is none."""
        access = connect_to(namespace=namespace, context=context, kubeconfig=kubeconfig)
        access.job(name)
        return cls(access, name, quiet=quiet)

    # -- while it goes on --------------------------------------------------------------------------

    @property
    def job(self) -> Document:
        """As the cluster has it now. Raises ApiError when it is gone."""
        return self.access.job(self.name)

    @property
    def phase(self) -> str:
        """Starting, Running, Succeeded, Failed, ...; empty before an operator has seen it."""
        return str(part(self.job, "status", "phase") or "")

    @property
    def done(self) -> bool:
        return bool(ended(self.job))

    @property
    def status(self) -> Status | None:
        """What shard 0 says now; when it has ended or does not answer, what it told this Run last."""
        told = Shard(self.access, self.job).ask()
        if told is not None:
            self._note(told)
        return self._told

    @property
    def metrics(self) -> dict[str, float | None]:
        """The newest evaluation's {name: value}; empty before the first."""
        told = None if self.done else self.status
        return dict(told.metrics if told else part(self.job, "status", "training", "metrics") or {})

    def wait(self, timeout: float | None = None) -> Self:
        """Shows the run until it has ended or was suspended; returns it. Ctrl-C leaves the job as it is.

        Raises RunFailed when it ended otherwise than well, TimeoutError when `timeout` seconds are over before.
        """
        return self.attend(timeout, time.sleep)

    def attend(self, timeout: float | None, sleep: Callable[[float], None]) -> Self:
        """The same with a pause between two looks of its caller's, which may raise to end it."""
        view = NotebookView() if in_notebook() and not self._quiet else None
        with Display(quiet=self._quiet, view=view) as display:
            job = Follower(self.access, self.name, display, self._note, sleep=sleep).follow(timeout)
        if job is None:
            raise TimeoutError(f"{self.name} goes on after {timeout:g} s")
        if ended(job) == "Failed":
            found = condition(job, "Failed")
            sentence = f"{self.name}: {found.get('reason')}: {found.get('message')}"
            raise RunFailed(sentence, exit_code(job), self)
        return self

    def stop(self, *, wait: bool = True) -> Self:
        """Ends it well: last checkpoint and evaluation, then it is Complete. `wait`: returns when that is done."""
        from asgd.client.commands.changing import stop_at

        job = self.job
        if not ended(job):
            if suspended(job):
                raise UserError(
                    f"{self.name} is suspended and does not train: resume() it first, or delete() it"
                )
            stop_at(self.access, job)
        return self.wait() if wait else self

    def scale(self, workers: int) -> Self:
        """Sets how many workers it shall have; returns at once. Raises ApiError for more than `maxReplicas`."""
        self.access.scale(self.name, workers)
        return self

    def suspend(self) -> Self:
        """Saves and removes its pods; returns at once."""
        self.access.patch(KIND, self.name, {"spec": {"runPolicy": {"suspend": True}}})
        return self

    def resume(self) -> Self:
        """Goes on from its newest checkpoint; returns at once."""
        self.access.patch(KIND, self.name, {"spec": {"runPolicy": {"suspend": False}}})
        return self

    def delete(self) -> None:
        """With all its pods; checkpoints on a claim or in a bucket stay."""
        self.access.delete(KIND, self.name)

    def logs(
        self, *, role: str = "", worker: int | None = None, tail: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of its pods, each with who said it where there are several; with `follow` until its end."""
        choice = Choice(role, worker, tail=tail)
        if follow:
            return Following(self.access, self.name, choice, lambda: self.done).lines()
        return read(self.access, chosen(self.access.pods(self.name), choice), choice)

    # -- what it leaves ----------------------------------------------------------------------------

    def download(self, target: str | Path, which: str = "latest") -> Path:
        """Writes its weights to a safetensors file; `which`: latest, final or best. Raises UserError, ApiError."""
        from asgd.client.commands.getting import download

        return download(self.access, self.job, Path(target), which).path

    def model(self) -> nn.Module:
        """The task's model with the newest checkpoint's weights, in evaluation mode, built by the task's code here.

        Raises UserError for an entrypoint that is a script, and where the checkpoint lacks a part, as buffers.
        """
        from asgd.interactive.trained import build

        with self._folder() as folder:
            self._write_job(Path(folder))
            return build(Path(folder), None)

    def state_dict(self) -> Mapping[str, Tensor]:
        """The newest checkpoint's trained weights by name. Raises UserError where there is none."""
        from asgd.interactive.trained import state_of

        with self._folder() as folder:
            return state_of(Path(folder))

    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        folder = tempfile.TemporaryDirectory()
        try:
            self.download(Path(folder.name) / "model.safetensors")
        except BaseException:
            folder.cleanup()
            raise
        return folder

    def _write_job(self, folder: Path) -> None:
        from asgd.spec.dump import as_yaml

        job = self.job
        spec = dict(job["spec"])
        if source := spec.pop("sourceFrom", None):
            spec["source"] = {
                **(self.access.get("ConfigMap", source["configMap"]).get("data") or {}),
                **(spec.get("source") or {}),
            }
        bare = {"apiVersion": job["apiVersion"], "kind": KIND, "metadata": {"name": self.name}, "spec": spec}
        (folder / "job.yaml").write_text(as_yaml(bare), encoding="utf-8")

    def _note(self, told: Status) -> None:
        before, self._told = self._told, told
        self._lines.append(lines.progress(told, told.seconds))
        new = before is None or before.metrics_at_updates != told.metrics_at_updates
        if told.metrics and new:
            self._lines.append(lines.evaluation(told, told.seconds))
        if len(self._lines) > _MOST_ROWS:
            del self._lines[::2]

    def _rows(self) -> list[Row]:
        """NB: what this Run has seen while it was followed or asked; a cluster keeps no history."""
        return [*rows(self._lines)]

    # -- how it looks ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        figures = "" if self._told is None else f", {self._told.updates:,} updates"
        return f"<asgd.client.Run {self.access.namespace}/{self.name}{figures}>"
