"""`asgd simulate --calibrate DIR`: a simulated cluster whose times are those of a real run.

The run's history tells how long each worker's own part of a step took (data, gradient, its side of the strategy), how
long exchanges took, and what shard 0 spent on a message. Workers alike share one distribution; one that is clearly
slower or faster than the median keeps its factor. Not taken over: faults, bandwidth and how times change with load.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from statistics import median

from asgd.algorithms.registry import halves
from asgd.errors import UserError
from asgd.report import history as histories
from asgd.report.history import History
from asgd.report.lines import Progress, Run, Timing, together
from asgd.spec import load_job
from asgd.spec.durations import PER_DECADE, Spread, merged, middle
from asgd.spec.status import ServingView, WorkerTimes
from asgd.world.models import MeasuredTime, World

UNLIKE = 1.2
"""A worker whose steps take so many times the median, or the median so many times its own, is a straggler."""
_HALF_BUCKET = 10 ** (0.5 / PER_DECADE)
_UNDISTURBED = 0.1


def calibrate(folder: Path, workers: int) -> World:
    """The cluster of the run in `folder`, for a job of `workers` workers. Raises UserError when it tells no times."""
    path = folder / "history.jsonl"
    if not path.is_file():
        raise UserError(f"--calibrate: {folder} is no run: it holds no history.jsonl")
    history = histories.read(path)
    run = histories.last_run(history)
    if run is not None and run.simulated:
        raise UserError(f"--calibrate: {folder} is a simulation; name the folder of a run by asgd run")
    timing = whole(history)
    measured = {index: times for index, times in timing.workers.items() if times.own.counts}
    if not measured:
        raise UserError(
            f"--calibrate: {folder} tells no step times: its run was too short or by an older version"
        )
    return world(timing, _requests(history, timing), _pulls_wait(folder), workers)


def world(timing: Timing, requests: float, split: bool, workers: int) -> World:
    """As `calibrate`; `requests` are messages to shard 0 an exchange, `split` says that pulls may be held back."""
    measured = {index: times.own for index, times in timing.workers.items() if times.own.counts}
    typical = median(own.mean for own in measured.values())
    factors = {index: own.mean / typical for index, own in measured.items()}
    unlike = {index: f for index, f in factors.items() if not 1 / UNLIKE <= f <= UNLIKE}
    alike = merged(own for index, own in measured.items() if index not in unlike)
    exchange = merged(times.exchange for times in timing.workers.values())
    served = timing.serving.seconds / timing.serving.requests if timing.serving.requests else 0.0
    # Where pulls wait for other workers, only the quickest tell what an exchange itself takes.
    trip = exchange.quantile(_UNDISTURBED) if split else exchange.mean
    return World(
        compute=_measured(alike if alike.counts else merged(measured.values())),
        stragglers=tuple((index, factor) for index, factor in sorted(unlike.items()) if index < workers),
        latency=max(0.0, trip - requests * served) / 2,
        server_seconds=served,
    )


def _measured(spread: Spread) -> MeasuredTime:
    buckets = sorted(spread.counts)
    # NB: the middle of a bucket is not the mean of what fell into it; the exact sum puts that right.
    guess = sum(
        count * middle(bucket) * (_HALF_BUCKET + 1 / _HALF_BUCKET) / 2
        for bucket, count in spread.counts.items()
    )
    scale = spread.seconds / guess
    centres = [middle(bucket) * scale for bucket in buckets]
    return MeasuredTime(
        bounds=tuple((centre / _HALF_BUCKET, centre * _HALF_BUCKET) for centre in centres),
        shares=tuple(part / spread.total for part in accumulate(spread.counts[bucket] for bucket in buckets)),
    )


def whole(history: History) -> Timing:
    """The times of all starts of the run together: each start's newest line tells its whole."""
    newest: list[Timing] = []
    fresh = True
    for line in history.lines:
        if isinstance(line, Run):
            fresh = True
        elif isinstance(line, Timing):
            newest = [*newest, line] if fresh else [*newest[:-1], line]
            fresh = False
    lives: dict[int, list[WorkerTimes]] = {}
    for line in newest:
        for index, times in line.workers.items():
            lives.setdefault(index, []).append(times)
    serving = ServingView(
        sum(line.serving.requests for line in newest), sum(line.serving.seconds for line in newest)
    )
    return Timing(
        t=newest[-1].t if newest else 0.0,
        workers={index: together(times) for index, times in lives.items()},
        serving=serving,
    )


def _requests(history: History, timing: Timing) -> float:
    """Messages to shard 0 an update; big models travel in several."""
    updates = max((line.updates for line in history.lines if isinstance(line, Progress)), default=0)
    return max(1.0, timing.serving.requests / updates) if updates else 1.0


def _pulls_wait(folder: Path) -> bool:
    """Whether the run's strategy may hold pulls back; no when it is not installed here."""
    try:
        return halves(load_job(folder / "job.yaml").spec).pulls_wait
    except UserError:
        return False
