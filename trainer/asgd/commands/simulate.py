"""`asgd simulate`: a job in virtual time, to ask what another cluster would do to its accuracy and time.

It leaves the same files as `asgd run`. The training is real, down to the bits of shards and strategies; only time
is made up (`world/models.py`).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from asgd import exitcodes
from asgd.algorithms import attacks
from asgd.drivers import sent
from asgd.drivers.display import MakeDisplay
from asgd.drivers.model_file import write_model
from asgd.drivers.output import Output, choose_output
from asgd.host.ranks import drop_ranks
from asgd.kernel import F32
from asgd.report import curves, summary
from asgd.report.history import HistoryWriter
from asgd.spec import Job, advice, dump_job
from asgd.spec.status import Status
from asgd.wire.partition import by_name, named_tensors
from asgd.worker.task.entrypoint import code_in
from asgd.world import models
from asgd.world.calibration import calibrate
from asgd.world.models import World

if TYPE_CHECKING:  # torch takes a second to load
    from asgd.drivers.virtual.simulation import Simulation
    from asgd.worker.shared import TorchWork


def sets(arguments: argparse.Namespace) -> list[str]:
    """What `--workers` and `--seed` mean as `--set`."""
    given = list(arguments.set)
    if arguments.workers is not None:
        given += [f"workers.replicas={arguments.workers}"]
        given += [f"workers.maxReplicas={arguments.workers}"] if arguments.workers > 64 else []
    return given if arguments.seed is None else [*given, f"seed={arguments.seed}"]


def world(arguments: argparse.Namespace, workers: int) -> World:
    """The cluster that the options describe, else the measured one, else the default. Raises UserError."""
    measured = calibrate(Path(arguments.calibrate), workers) if arguments.calibrate else World()
    speed = models.amount("--server-speed", arguments.server_speed) if arguments.server_speed else 0.0
    slow = tuple(models.straggler(text, workers) for text in arguments.straggler)
    described = dataclasses.replace(
        measured,
        compute=models.compute_time(arguments.compute) if arguments.compute else measured.compute,
        stragglers=slow or measured.stragglers,
        latency=models.amount("--latency", arguments.latency) if arguments.latency else measured.latency,
        server_seconds_per_byte=1 / speed if speed else 0.0,
        deaths=tuple(models.mishap("--death", text) for text in arguments.death),
        pauses=tuple(models.mishap("--pause", text) for text in arguments.pause),
        hangs=tuple(models.mishap("--hang", text) for text in arguments.hang),
        attacks=tuple(attacks.parse(text, workers) for text in arguments.attack),
        nodes=models.count("--nodes", arguments.nodes),
        joins=tuple(models.mishap("--join", text) for text in arguments.join),
    )
    if not arguments.bandwidth:
        return described
    return dataclasses.replace(described, bandwidth=models.amount("--bandwidth", arguments.bandwidth))


def run(job: Job, folder: Path, described: World, asked_output: str | None, make_display: MakeDisplay) -> int:
    """Simulates `job`, whose file lies in `folder`; returns the exit code. Raises UserError."""
    with (
        choose_output(job, asked_output) as output,
        code_in(sent.keep(job.spec.entrypoint, folder, output.folder)),
    ):
        return _run(job, described, output, make_display)


def _run(job: Job, described: World, output: Output, make_display: MakeDisplay) -> int:
    from asgd.drivers.virtual.simulation import Simulation
    from asgd.server.saves.in_process import MemoryStore
    from asgd.worker.device.flat import kinds
    from asgd.worker.shared import TorchWork  # torch takes a second to load

    written = HistoryWriter(output.file("history.jsonl"), simulated=True)
    with make_display(output.folder) as display, written as history:
        for line in (*advice(job), *drop_ranks()):
            display.note(f"warning: {line}")
        if job.spec.logging:
            display.note("spec.logging: a simulation starts no loggers; its series are in history.jsonl")
        output.file("job.yaml").write_text(dump_job(job), encoding="utf-8")
        work = TorchWork(job.spec)

        def observe(status: Status) -> None:
            history.record(status)
            display.update(status)

        store = MemoryStore() if job.spec.on_divergence == "Rollback" else None
        simulation = Simulation(job, work, described, observe, store=store, scaled=display.note)
        status = simulation.run()
    # NB: with the number of workers that it has come to.
    _leave_files(simulation.cluster.job, status, output, kinds(work.task.model))
    _leave_models(simulation, work, output, status)
    return exitcodes.DIVERGED if status.stop_reason == "diverged" else exitcodes.DONE


def _leave_models(simulation: Simulation, work: TorchWork, output: Output, status: Status) -> None:
    """As `asgd run` leaves them: the answer, its moving average, and the best evaluated one."""
    models: dict[str, tuple[F32, int]] = {}
    if simulation.best:
        models["model-best"] = simulation.best[1], simulation.best[0].updates
    if status.stop_reason != "diverged" and simulation.job.spec.evaluation.ema is not None:
        models["model-ema"] = simulation.cluster.average(), status.updates
    if status.stop_reason != "diverged":
        models["model"] = simulation.answer(), status.updates
    for name, (weights, updates) in models.items():
        if len(models) > 1:
            work.evaluate(weights)  # so that the buffers are those of these weights
        model = work.whole(by_name(weights, named_tensors(work.tensors)))
        metadata = {"updates": str(updates)}
        # NB: several entries stand in the file in an order of chance, and a simulation gives the same bytes twice.
        metadata |= {"lacks": ", ".join(model.lacks)} if model.lacks else {}
        write_model(output.file(f"{name}.safetensors"), model.tensors, metadata)


def _leave_files(job: Job, status: Status, output: Output, kinds: Mapping[str, int]) -> None:
    told = summary.summarize(status, job.spec, kinds)
    summary.write(told, output.file("summary.json"))
    if status.updates:
        curves.draw(output.file("history.jsonl"), output.file("curves.png"), f"{job.name} (simulated)")
    print("simulated  all seconds below are virtual")
    for line in summary.describe(told, output.folder):
        print(line)
    sys.stdout.flush()
