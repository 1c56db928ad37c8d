"""`asgd run --profile worker=1,steps=20:30`: which worker torch's profiler looks at, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from asgd.drivers.output import Output
from asgd.errors import UserError
from asgd.spec.environment import Env

STEPS = "10:14"
"""When the first steps, which may compile and warm up, are over; a trace of many steps is slow to open."""
_FORM = re.compile(r"worker=(\d+)(?:,steps=(\d+):(\d+))?")


@dataclass(frozen=True, slots=True)
class Profile:
    """Steps `first` to `last` of worker `worker`, both of them included, counted from 1."""

    worker: int
    first: int
    last: int

    @classmethod
    def parse(cls, text: str, workers: int) -> Self:
        """What the option says, in a job of so many workers. Raises UserError."""
        match = _FORM.fullmatch(text)
        if not match:
            raise UserError(f"--profile: {text}: allowed: worker=N or worker=N,steps=FIRST:LAST")
        first, last = (
            int(part or default) for part, default in zip(match.groups()[1:], STEPS.split(":"), strict=True)
        )
        if int(match[1]) >= workers:
            raise UserError(
                f"--profile: {text}: the job has {workers} workers; allowed: worker=0 to worker={workers - 1}"
            )
        if not 1 <= first <= last:
            raise UserError(f"--profile: {text}: steps must be FIRST:LAST with 1 <= FIRST <= LAST")
        return cls(int(match[1]), first, last)

    def env(self, output: Output) -> dict[tuple[str, int], dict[str, str]]:
        """What its worker is told beside the rest. An earlier profile of it is removed."""
        for path in self._files(output):
            path.unlink(missing_ok=True)
        place = output.file(f"profile/worker-{self.worker}").absolute()
        return {("worker", self.worker): {Env.PROFILE: f"{self.first}:{self.last}:{place}"}}

    def result(self, output: Output) -> str:
        """A closing line for the person."""
        trace, table = self._files(output)
        if trace.exists():
            return f"profile    {trace} (chrome://tracing, ui.perfetto.dev) and {table}"
        log = output.file(f"logs/worker-{self.worker}.log")
        return f"profile    none: worker {self.worker} came to no step {self.first}, see {log}"

    def _files(self, output: Output) -> tuple[Path, Path]:
        return (
            output.file(f"profile/worker-{self.worker}.json"),
            output.file(f"profile/worker-{self.worker}.txt"),
        )
