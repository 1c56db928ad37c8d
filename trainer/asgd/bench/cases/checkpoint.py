"""A checkpoint while a worker pushes without a pause: the rate before it and while it is taken, onto a disk."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from asgd.bench import lanes
from asgd.bench.plan import Plan
from asgd.bench.results import Line, Sample, Table
from asgd.bench.servers import Servers
from asgd.bench.steady import Steady, until
from asgd.wire.ask import Asker
from asgd.wire.messages import Command

NAME = "checkpoint"
ABOUT = "updates/s of one busy worker before a checkpoint and in the seconds of one"
SLOW = True

PARAMETERS = 50_000_000
WINDOW_SECONDS = 3.0


def run(plan: Plan) -> list[Table]:
    """Two tables: the rates, and how long the checkpoint took."""
    size = 100_000 if plan.tiny else PARAMETERS
    before: list[Sample | None] = []
    during: list[Sample | None] = []
    took: list[Sample | None] = []
    for number in range(plan.rounds):
        plan.progress(f"round {number + 1} of {plan.rounds}: a checkpoint of {size / 1e6:g}M parameters")
        for samples, value in zip((before, during, took), once(size), strict=True):
            samples.append(Sample(value))
    title = f"{size / 1e6:g}M parameters, same host, 1 worker"
    lines = [Line("before", before), Line(f"in the {WINDOW_SECONDS:g} s from its order", during)]
    return [
        Table(f"a checkpoint, {title}", "updates/s", lines, "before"),
        Table(f"how long it took, {title}", "s", [Line("order to manifest", took)]),
    ]


def once(size: int) -> tuple[float, float, float]:
    """(updates/s before, updates/s from the order on, seconds until the checkpoint was complete)."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as name:
        store = Path(name) / "checkpoints"
        lane = f"exchange.lane={lanes.same_host()}"
        servers = Servers(Path(name), [lane], local=True, checkpoint=str(store))
        asker = Asker(servers.endpoints[0], None)
        try:
            with Steady(servers, size) as worker:
                # NB: the model of the start is saved first.
                until(lambda: any(store.glob("*/manifest.json")) and len(worker.acknowledged) > 3)
                begin = time.monotonic()
                time.sleep(WINDOW_SECONDS)
                ordered = time.monotonic()
                asker.ask(Command("save"), WINDOW_SECONDS)
                until(lambda: len(list(store.glob("*/manifest.json"))) > 1)
                took = time.monotonic() - ordered
                time.sleep(max(0.0, ordered + WINDOW_SECONDS - time.monotonic()))
                end = max(ordered + WINDOW_SECONDS, ordered + took)
                return worker.rate(begin, ordered), worker.rate(ordered, end), took
        finally:
            asker.close()
            servers.end()
