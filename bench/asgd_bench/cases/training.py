"""End to end, without any emulated device: the three examples to a target, four workers, ours against DDP."""

from __future__ import annotations

from asgd_bench.comparison import GRID_SEEDS, Ddp, Ours, Problem, Trainer, choose_rates, compare
from asgd_bench.forks import Forks
from asgd_bench.plan import Plan
from asgd_bench.results import Table

NAME = "training"
ABOUT = "the examples to a target with 4 workers, real gradients and no emulated device"
SLOW = True

PROBLEMS = [
    (Problem("digits", "accuracy", 0.95, 10.0), (0.05, 0.025, 0.1)),
    (Problem("mnist", "accuracy", 0.95, 15.0, batch=16, every=0.5), (0.1, 0.05, 0.2)),
    (Problem("charlm", "accuracy", 0.4, 20.0, batch=8, optimizer="adam", every=1.0), (0.002, 0.004)),
]


def run(plan: Plan) -> list[Table]:
    """Two tables for each example: time to the target, and samples/s until then."""
    tables = []
    forks, ddp = Forks(), Ddp()
    try:
        for problem, grid in PROBLEMS:
            forks.warm(problem.example)
            trainers: list[Trainer] = [Ours("ours", forks), ddp]
            rates = choose_rates(trainers, problem, grid, plan.progress, GRID_SEEDS[:1])
            found = compare(trainers, problem, rates, plan.turns(), plan.progress)
            goal = f"{problem.example}, to {problem.metric} {problem.target:g}"
            tables += [
                Table(goal, "s", found.times(), "ours", less_is_better=True),
                Table(f"{problem.example}, speed", "samples/s", found.speed(), "ours"),
            ]
    finally:
        forks.close()
        ddp.close()
    return tables
