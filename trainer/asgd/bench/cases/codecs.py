"""Codecs: bytes of an update and what accuracy they leave, by real jobs on digits; a round is a seed."""

from __future__ import annotations

import statistics

from asgd.bench.codecs import CODECS, allowed
from asgd.bench.contender import Failed
from asgd.bench.plan import Plan
from asgd.bench.results import Line, Sample, Table
from asgd.bench.training import Rule, Trained, train
from asgd.bench.zygote import Zygote

NAME = "codecs"
ABOUT = "bytes of an update and accuracy after 20 epochs of digits, 4 workers, for each codec"
SLOW = True

EPOCHS = 20
LONGEST_SECONDS = 30.0
SETS = [f"stopAfter.epochs={EPOCHS}", "optimizer.learningRate=0.03", "evaluation.everySeconds=0"]


def run(plan: Plan) -> list[Table]:
    """One table: test accuracy, payload bytes of an update both ways, and how many times fewer than fp32."""
    zygote = Zygote()
    runs: dict[str, list[Trained]] = {name: [] for name, sets in CODECS.items() if allowed(sets)}
    failures: dict[str, str] = {}
    try:
        zygote.warm("digits")
        for number in range(plan.rounds):
            for name in runs:
                plan.progress(f"round {number + 1} of {plan.rounds}: {name}")
                try:
                    done = _once(zygote, CODECS[name], number)
                    accuracy(done)
                    runs[name].append(done)
                except Failed as error:
                    failures[name] = str(error)
    finally:
        zygote.close()
    whole = _bytes(runs["fp32"])
    lines = []
    for name, found in runs.items():
        samples: list[Sample | None] = [Sample(accuracy(one)) for one in found]
        each = _bytes(found)
        told = (
            {"bytes each": f"{each:,.0f}", "fewer": f"{whole / each:.1f}x"}
            if found and each and whole
            else {}
        )
        lines.append(Line(name, samples, failures.get(name, ""), told))
    return [Table("digits, 20 epochs, 4 workers", "% accuracy", lines)]


def _once(zygote: Zygote, sets: list[str], seed: int) -> Trained:
    rule = Rule(LONGEST_SECONDS, own=True)
    return train(zygote, [*SETS, f"seed={seed}", *sets], {"example": "digits"}, rule, workers=4)


def accuracy(done: Trained) -> float:
    """Final test accuracy in percent. Raises Failed when the run did not come to its end."""
    value = done.status.metrics.get("accuracy")
    if done.status.phase != "finished" or value is None:
        raise Failed(f"the run had not ended after {LONGEST_SECONDS:.0f} s")
    return 100 * value


def _bytes(runs: list[Trained]) -> float:
    """Payload of one update, push and pull, median of the runs."""
    each = [(one.status.bytes_sent + one.status.bytes_received) / max(1, one.status.updates) for one in runs]
    return statistics.median(each) if each else 0.0
