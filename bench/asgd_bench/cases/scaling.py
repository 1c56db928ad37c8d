"""Scaling: samples/s of 1, 2 and 4 workers whose device takes 20 ms a step, and a large model behind a 200 ms step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from asgd_bench.forks import Forks
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table
from asgd_bench.system import Failed
from asgd_bench.training import Rule, train

NAME = "scaling"
ABOUT = "1, 2 and 4 workers: digits with a 20 ms step; 10M parameters with a 200 ms step and exchange.ahead"
SLOW = True

PROBLEMS = [
    # NB: the device's time is a sleep; a model that computes on the cores as well measures how these are shared.
    ("digits-mlp", 0.02, 4.0, (1, 2, 4), ["optimizer.learningRate=0.03"]),
    ("digits", 0.02, 4.0, (1, 4), ["optimizer.learningRate=0.03"]),
    ("wide", 0.2, 5.0, (1, 4), ["exchange.ahead=1"]),
]
"""(example, seconds of a step, seconds of a run, numbers of workers, fields of the job)"""


def run(plan: Plan) -> list[Table]:
    """One table for each problem: samples/s, and the share of workers x one worker's own step."""
    forks = Forks()
    try:
        forks.warm("digits")
        return [_table(plan, forks, *problem) for problem in PROBLEMS]
    finally:
        forks.close()


def _table(
    plan: Plan,
    forks: Forks,
    example: str,
    step: float,
    seconds: float,
    counts: Sequence[int],
    sets: Sequence[str],
) -> Table:
    runs: dict[int, list[Sample | None]] = {count: [] for count in counts}
    failures: dict[int, str] = {}
    for number in plan.turns():
        for count in counts:
            runs[count].append(None)
            if count in failures:
                continue
            plan.progress(f"round {number + 1}: {example}, {count} workers")
            args = {"example": example, "step_seconds": step}
            try:
                done = train(forks, sets, args, Rule(seconds), workers=count, evaluate=False)
            except Failed as error:
                failures[count] = str(error)
                continue
            updates = max(1, done.status.updates)
            runs[count][-1] = Sample(done.samples_per_second, done.cpu_seconds / updates)
    return Table(f"{example}, {step * 1000:.0f} ms step", "samples/s", _lines(runs, failures), note=NOTE)


NOTE = "Scaling is samples/s / (workers x samples/s of one worker in the same round), median."


def _lines(runs: dict[int, list[Sample | None]], failures: dict[int, str]) -> list[Line]:
    lines = []
    for count, samples in runs.items():
        pairs = [(s.value, one.value) for s, one in zip(samples, runs[1], strict=True) if s and one]
        share = statistics.median(value / (count * one) for value, one in pairs) if pairs else None
        told = {"scaling": f"{share:.1%}"} if share is not None else {}
        lines.append(Line(f"{count} workers", samples, failures.get(count, ""), told))
    return lines
