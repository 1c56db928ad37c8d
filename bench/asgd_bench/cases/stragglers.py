"""Unequal workers: digits with a device step of 20 ms, all equal and with one worker five times slower.

DDP steps at the pace of its slowest. What our strategies do about it stands beside: plain asynchrony, smaller steps for
stale gradients, bounded staleness, several local steps a push, as many of them as a worker's speed allows, and our own
synchronous rule. Each has the best learning rate of the same small grid.
"""

from __future__ import annotations

from dataclasses import replace

from asgd_bench.codecs import allowed
from asgd_bench.comparison import GRID_SEEDS, Ddp, Ours, Problem, Trainer, choose_rates, compare
from asgd_bench.figures import spread, values
from asgd_bench.forks import Forks
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Table

NAME = "stragglers"
ABOUT = "digits, 4 workers, a 20 ms device step: all equal, then one worker five times slower"
SLOW = True

GRID = (0.05, 0.025, 0.1, 0.2)
EQUAL = Problem("digits", "accuracy", 0.95, seconds=15.0, step_seconds=0.02, least=3.0)
SLOWED = replace(EQUAL, straggler=0, seconds=25.0)
IDEAL = (3 + 1 / 5) / 4
"""What four workers can give together when one is five times slower, as a share of the healthy four."""
LOCAL = ["exchange.pushEvery=4", "exchange.fetchEvery=4", "algorithm.deltaScale=mean"]
DILOCO = ["algorithm.name=async-diloco", "algorithm.period=10"]
VARIANTS = {
    "ours": [],
    "ours, staleness-aware rates": ["algorithm.name=staleness-aware"],
    "ours, SSP (staleness <= 4)": ["algorithm.name=ssp"],
    "ours, 4 local steps a push": LOCAL,
    "ours, async DiLoCo, dynamic local steps": DILOCO,
    "ours, async DiLoCo, 10 local steps": [*DILOCO, "algorithm.dynamicSteps=false"],
}


def run(plan: Plan) -> list[Table]:
    """Samples/s and time to 95 %, healthy and with a straggler, and what share of the healthy speed is kept."""
    forks, ddp = Forks(), Ddp()
    try:
        forks.warm("digits")
        variants: list[Trainer] = [
            Ours(name, forks, sets) for name, sets in VARIANTS.items() if allowed(sets)
        ]
        both = [variants[0], ddp]
        even = choose_rates(both, EQUAL, GRID, plan.progress)
        # NB: a straggler changes when DDP takes its steps, not the steps: its best rate is that of equal workers.
        uneven = choose_rates(variants, SLOWED, GRID, plan.progress, GRID_SEEDS[:1])
        uneven[ddp.name] = even[ddp.name]
        equal = compare(both, EQUAL, even, plan.turns(), plan.progress)
        slow = compare([*variants, ddp], SLOWED, uneven, plan.turns(), plan.progress)
    finally:
        forks.close()
        ddp.close()
    kept = _kept(equal.speed(), slow.speed())
    rates = ", ".join(f"{rate:g}" for rate in sorted(GRID))
    chosen = f"Each with the learning rate of {rates} that was first at 95 % in a run or two of its own."
    ideal = f"The ideal is {IDEAL:.0%} kept."
    return [
        Table("all equal, speed", "samples/s", equal.speed(), "ours"),
        Table("all equal, to 95 % accuracy", "s", equal.times(), "ours", less_is_better=True, note=chosen),
        Table("one worker 5x slower, speed", "samples/s", kept, "ours", note=ideal),
        Table(
            "one worker 5x slower, to 95 % accuracy", "s", slow.times(), "ours", less_is_better=True,
            note=chosen,
        ),
    ]  # fmt: skip


def _kept(equal: list[Line], slow: list[Line]) -> list[Line]:
    """The slow lines with the share that each keeps of its own healthy speed, or of plain asynchrony's."""
    healthy = {line.name: spread(values(line)) for line in equal}
    lines = []
    for line in slow:
        whole, now = healthy.get(line.name) or healthy["ours"], spread(values(line))
        told = {"kept of healthy": f"{now.median / whole.median:.0%}"} if whole and now else {}
        lines.append(Line(line.name, line.samples, line.failure, told))
    return lines
