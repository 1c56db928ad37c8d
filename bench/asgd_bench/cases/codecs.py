"""Codecs: bytes of an update and what accuracy they leave, by real jobs on the three examples; a round is a seed.

Each example is trained to the end of a short schedule, since accuracy half way up a curve says little. Digits compare
all codecs, the others those that the goals name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from asgd_bench.codecs import CODECS, allowed
from asgd_bench.figures import spread, values
from asgd_bench.forks import Forks
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table
from asgd_bench.system import Failed
from asgd_bench.training import Rule, Trained, train

NAME = "codecs"
ABOUT = "accuracy after a short schedule and bytes of an update for each codec, 4 workers, the three examples"
SLOW = True

LONGEST_SECONDS = 60.0
NAMED = ("fp32", "bf16", "int8+EF both ways", "top 1 %+EF, pull top 5 %")
EXAMPLES: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "digits": (tuple(CODECS), ["optimizer.learningRate=0.03", "stopAfter.epochs=15"]),
    "mnist": (
        NAMED,
        [
            "optimizer.learningRate=0.03", "batchSize=16", "stopAfter.epochs=8", "optimizer.schedule.name=cosine",
            "optimizer.schedule.unit=epochs", "optimizer.schedule.warmup=0.5", "optimizer.schedule.length=8",
        ],
    ),
    "charlm": (
        NAMED,
        [
            "optimizer.name=adam", "optimizer.betas=[0, 0.99]", "optimizer.learningRate=0.003", "batchSize=8",
            "stopAfter.epochs=3", "optimizer.schedule.name=cosine", "optimizer.schedule.unit=epochs",
            "optimizer.schedule.warmup=0.3", "optimizer.schedule.length=3",
        ],
    ),
}  # fmt: skip
"""{example: (codecs, fields of the job)}"""


@dataclass(slots=True)
class Runs:
    """One codec on one example: a sample for each round in both units."""

    accuracy: list[Sample | None] = field(default_factory=list)
    each: list[Sample | None] = field(default_factory=list)
    failure: str = ""


def run(plan: Plan) -> list[Table]:
    """Two tables for each example: test accuracy, and payload bytes of an update, push and pull."""
    forks = Forks()
    found = {
        example: {name: Runs() for name in names if allowed(CODECS[name])}
        for example, (names, _) in EXAMPLES.items()
    }
    try:
        for example in EXAMPLES:
            forks.warm(example)
        for number in plan.turns():
            for example, lines in found.items():
                for name, runs in lines.items():
                    plan.progress(f"round {number + 1}: {example}, {name}")
                    _add(runs, forks, example, name, number)
    finally:
        forks.close()
    return [table for example, lines in found.items() for table in _tables(example, lines)]


def _add(runs: Runs, forks: Forks, example: str, name: str, seed: int) -> None:
    sets = [*EXAMPLES[example][1], *CODECS[name], f"seed={seed}", "evaluation.everySeconds=0"]
    accuracy = each = None
    try:
        done = train(forks, sets, {"example": example}, Rule(LONGEST_SECONDS, own=True), workers=4)
        accuracy, each = Sample(final_accuracy(done)), Sample(bytes_of_update(done))
    except Failed as error:
        runs.failure = str(error)
    runs.accuracy.append(accuracy)
    runs.each.append(each)


def final_accuracy(done: Trained) -> float:
    """Final test accuracy in percent. Raises Failed when the run did not come to its end."""
    value = done.status.metrics.get("accuracy")
    if done.status.phase != "finished" or value is None:
        raise Failed(f"the run had not ended after {LONGEST_SECONDS:.0f} s")
    return 100 * value


def bytes_of_update(done: Trained) -> float:
    """Payload of one update, push and pull; the whole weights that workers take when they join are in it."""
    return (done.status.bytes_sent + done.status.bytes_received) / max(1, done.status.updates)


def _tables(example: str, found: dict[str, Runs]) -> list[Table]:
    accuracy = [Line(name, runs.accuracy, runs.failure) for name, runs in found.items()]
    whole = spread(values(Line("fp32", found["fp32"].each)))
    each = []
    for name, runs in found.items():
        own = spread(values(Line(name, runs.each)))
        told = {"fewer": f"{whole.median / own.median:.1f}x"} if whole and own else {}
        each.append(Line(name, runs.each, more=told))
    return [
        Table(f"{example}, accuracy", "%", accuracy),
        Table(f"{example}, bytes of an update", "bytes", each, less_is_better=True),
    ]
