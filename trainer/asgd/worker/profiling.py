"""`asgd run --profile`: torch's own profiler over some steps of one worker, a trace and a table."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from asgd.host.say import say
from asgd.spec.environment import Env
from asgd.worker.meters import Meters

ROWS = 40


def profile_as_told(meters: Meters, env: Mapping[str, str] = os.environ) -> None:
    """Profiles this worker, whose steps `meters` counts, if ASGD_PROFILE says so: `FIRST:LAST:PATH`."""
    told = env.get(Env.PROFILE)
    if told:
        first, last, path = told.split(":", 2)
        profiler = StepProfiler(int(first), int(last), Path(path), meters)
        meters.stepped, meters.mark = profiler.step, lambda stage: record_function(f"asgd {stage}")
        atexit.register(profiler.close)
        profiler.step()


class StepProfiler:
    """Profiles the steps from number `first` to number `last`, as `meters` counts them, into `path`.json and .txt."""

    def __init__(self, first: int, last: int, path: Path, meters: Meters) -> None:
        self._first, self._last, self._path, self._meters = first, last, path, meters
        self._running: profile | None = None
        self._over = False

    def step(self) -> None:
        """A step is done, in the thread that computes; before the first one to begin with it."""
        done = self._meters.steps
        if self._running is None and not self._over and self._first - 1 <= done < self._last:
            cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self._running = profile(activities=[ProfilerActivity.CPU, *cuda])
            self._running.start()
        elif self._running is not None and done >= self._last:
            self.close()

    def close(self) -> None:
        """Writes what there is, be it fewer steps than were asked for. Twice is no harm."""
        if self._over:
            return
        self._over = True
        running, self._running = self._running, None
        done = self._meters.steps
        if running is None:
            say(
                f"--profile: this worker ended after {done} steps, before step {self._first}: there is no profile"
            )
            return
        running.stop()
        table = running.key_averages().table(sort_by="self_cpu_time_total", row_limit=ROWS)
        steps = f"steps {self._first} to {min(done, self._last)}"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            running.export_chrome_trace(str(self._path.with_suffix(".json")))
            self._path.with_suffix(".txt").write_text(f"{steps}\n{table}\n", encoding="utf-8")
        except (OSError, RuntimeError) as error:
            say(f"--profile: {self._path} cannot be written: {error}")
            return
        say(
            f"--profile: {steps} are in {self._path.with_suffix('.json')} and {self._path.with_suffix('.txt')}"
        )
