"""What makes a job that trains slower than it could be, by what shard 0 tells of workers, servers and data. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from asgd.client.explain.facts import INDEX_LABEL, ROLE_LABEL, Facts
from asgd.client.explain.kinds import Found, Kind
from asgd.client.explain.words import line
from asgd.page.waits import held_open
from asgd.report import units
from asgd.spec.phases import DATA, PUSH, WAIT, shares
from asgd.spec.status import Status, WorkerView

SLOWER = 2.0
"""A worker is called slow whose steps take so many times the median worker's."""
STEPS_LEAST = 5
BUSY = 0.9
"""Part of the time in which a shard serves, from which on it is the limit."""
READS, EXCHANGES, WAITS = 0.4, 0.5, 0.4
"""Parts of the workers' time from which on they are named."""
HUNG = "Mend what {} waits for, which the end of its log shows: it is given up and started again by itself."
DEADLINE = "workers.progressDeadlineSeconds"
REFUSED = 0.02
"""Part of all pushes."""


def findings(facts: Facts) -> Iterator[Found]:
    """The worst first; nothing where shard 0 was not heard."""
    report = facts.report
    if report is None:
        return
    yield from hung(facts)
    yield from _unsaved(facts, report)
    yield from _busy(facts, report)
    told = [*_waits(facts, report)]
    yield from told or _slow(facts, report)
    yield from _times(facts, report)
    yield from _refused(facts, report)
    yield from _bound(facts, report)


def hung(facts: Facts) -> Iterator[Found]:
    """A worker that lives and makes no progress."""
    for worker in facts.report.workers if facts.report else ():
        if worker.state == "stalled":
            idle = units.seconds(worker.idle_seconds)
            yield Found(
                Kind.HUNG_WORKER, f"{_who(facts, worker)} lives and has made no progress for {idle}",
                HUNG.format(f"worker {worker.index}"),
                facts.logs_of("worker", str(worker.index)), DEADLINE,
            )  # fmt: skip
            return


def _unsaved(facts: Facts, report: Status) -> Iterator[Found]:
    if report.checkpoint_error:
        path = "checkpoint.uri"
        yield Found(
            Kind.CHECKPOINT_FAILING, f"checkpoints fail: {line(report.checkpoint_error)}",
            f"Make room in the store of {path}, or give the servers the right to write there.",
            facts.log(f"{facts.name}-server-0"), path,
        )  # fmt: skip


def _busy(facts: Facts, report: Status) -> Iterator[Found]:
    if facts.earlier is None or facts.apart <= 0:
        return
    for index, (old, new) in enumerate(zip(facts.earlier.shards, report.shards, strict=False)):
        part = (new.busy_seconds - old.busy_seconds) / facts.apart
        if old.term == new.term and part > BUSY:
            path = "parameterServer.shards"
            yield Found(
                Kind.SERVER_BUSY, f"shard {index} is at its limit: it serves {min(1.0, part):.0%} of the time",
                f"Add a shard ({path}, {len(report.shards)} now), push less often (exchange.pushEvery), or run fewer"
                " workers.",
                facts.change(path), path,
            )  # fmt: skip
            return


def _waits(facts: Facts, report: Status) -> Iterator[Found]:
    waits = held_open(report.workers)
    if not waits or _shares(report)[WAIT] <= WAITS:
        return
    index, parked = next(iter(waits.items()))
    worker = next(worker for worker in report.workers if worker.index == index)
    yield Found(
        Kind.WAITS_FOR_ONE,
        f"{units.plural(len(parked), 'worker')} {'waits' if len(parked) == 1 else 'wait'} for {_who(facts, worker)},"
        f" and waiting is {_shares(report)[WAIT]:.0%} of the workers' time",
        "Give that worker the hardware of the others, or let the others run ahead by exchange.staleness or an"
        " asynchronous algorithm.",
        facts.logs_of("worker", str(index)), "exchange.staleness",
    )  # fmt: skip


def _slow(facts: Facts, report: Status) -> Iterator[Found]:
    steps = {
        worker.index: worker.times.own.quantile(0.5)
        for worker in report.workers
        if worker.alive and worker.times.own.total >= STEPS_LEAST
    }
    if len(steps) < 2:
        return
    index = max(steps, key=lambda item: steps[item])
    others = statistics.median(step for other, step in steps.items() if other != index)
    if others <= 0 or steps[index] < SLOWER * others:
        return
    worker = next(worker for worker in report.workers if worker.index == index)
    yield Found(
        Kind.SLOW_WORKER,
        f"a step of {_who(facts, worker)} takes {_short(steps[index])}, {steps[index] / others:.0f} times as long as"
        f" the other workers' ({_short(others)})",
        f"Look at what else runs on the node of worker {index}, at its data, and at workers.resources.",
        facts.logs_of("worker", str(index)), "workers.resources",
    )  # fmt: skip


def _times(facts: Facts, report: Status) -> Iterator[Found]:
    found = _shares(report)
    if found[DATA] > READS:
        yield Found(
            Kind.WAITS_FOR_DATA, f"the workers spend {found[DATA]:.0%} of their time on reading data",
            "Give the DataLoader num_workers, or put the data nearer: servers are not the limit.",
            facts.logs_of("worker"), "entrypoint",
        )  # fmt: skip
    if found[PUSH] > EXCHANGES:
        yield Found(
            Kind.EXCHANGES, f"the workers spend {found[PUSH]:.0%} of their time on exchanges with the servers",
            "Set exchange.ahead: 1 to hide them behind the next step, or make them rarer by exchange.pushEvery or a"
            " larger batchSize.",
            facts.change("exchange.ahead"), "exchange.ahead",
        )  # fmt: skip


def _refused(facts: Facts, report: Status) -> Iterator[Found]:
    total = sum(report.refused.values())
    if total <= REFUSED * (report.updates + total):
        return
    worst = max(report.refused, key=lambda reason: report.refused[reason])
    fix, path = {
        "stale": (
            "Allow more staleness (exchange.staleness.max), or run fewer workers.",
            "exchange.staleness.max",
        ),
        "nonfinite": (
            "Lower optimizer.learningRate, clip by optimizer.clipNorm, or look at the data.",
            "optimizer.learningRate",
        ),
    }.get(worst, ("Look at the data of the workers named in status.training.suspects.", ""))
    part = total / (report.updates + total)
    yield Found(
        Kind.PUSHES_REFUSED, f"{part:.0%} of all pushes are refused, most of them as {worst}", fix,
        facts.change(path) if path else facts.own("top"), path,
    )  # fmt: skip


def _bound(facts: Facts, report: Status) -> Iterator[Found]:
    bound = facts.at("exchange.staleness.max")
    if bound and report.staleness.p99 >= bound:
        policy = facts.at("exchange.staleness.policy") or "Refuse"
        does = {"Wait": "workers wait", "Scale": "pushes are scaled down"}.get(policy, "pushes are refused")
        path = "exchange.staleness.max"
        yield Found(
            Kind.STALENESS, f"staleness has reached its bound of {bound} updates, beyond which {does}",
            f"Raise {path}, or find the worker that is slow.", facts.change(path), path,
        )  # fmt: skip


def _shares(report: Status) -> list[float]:
    return shares("".join(worker.phases.letters for worker in report.workers if worker.alive))


def _who(facts: Facts, worker: WorkerView) -> str:
    """`worker 3 (digits-worker-3-abcde on node-2)`"""
    for pod in facts.pods:
        labels = pod["metadata"].get("labels", {})
        runs = pod.get("status", {}).get("phase") == "Running"
        if runs and labels.get(ROLE_LABEL) == "worker" and labels.get(INDEX_LABEL) == str(worker.index):
            node = pod.get("spec", {}).get("nodeName")
            return f"worker {worker.index} ({pod['metadata']['name']}{f' on {node}' if node else ''})"
    return f"worker {worker.index}"


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else units.seconds(seconds)
