"""Looks at the user's code before anything starts: imports the entrypoint, builds the task, reads one sample.

Runs as a process of its own, since it needs torch and the parent must not; answers with one JSON file.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from asgd.errors import UserError
from asgd.spec.types import JobSpec


class Findings(Struct):
    """What the user's code is. A script joins by itself when it runs, so that little is known of one."""

    script: bool = False
    layout: str = ""
    size: int = 0
    dataset: int | None = None
    guarantee: str = ""
    evaluates: bool = False
    extras: list[str] = []
    """Names in the model's state_dict that are no trained parameters: buffers, frozen ones."""
    aliases: dict[str, str] = {}
    """{second name of a tied parameter: its name in the layout}"""
    warnings: list[str] = []
    """What is allowed but costs much, a sentence each."""


def findings_of(code: int, answer: Path, log: Path) -> Findings:
    """What the check has found: it ended with `code`, wrote `answer` and printed `log`.

    Raises UserError with the check's own sentence.
    """
    if code == 0:
        return msgspec.json.decode(answer.read_bytes(), type=Findings)
    said = (log.read_text(encoding="utf-8", errors="replace").strip() or "no message").splitlines()[-1]
    if code == UserError.exit_code:
        raise UserError(said.removeprefix("asgd: "))
    raise UserError(f"spec.entrypoint: looking at it ended with {code}: {said}")


def look(spec: JobSpec) -> Findings:
    """Builds the task here and describes it, or reads the script. Raises UserError."""
    from asgd.algorithms.registry import halves
    from asgd.worker.compute import refuse_stages_of_script
    from asgd.worker.device.accelerator import choose_devices
    from asgd.worker.task.entrypoint import is_script

    halves(spec)
    choose_devices(spec.workers.devices.count, 0)
    if is_script(spec.entrypoint):
        refuse_stages_of_script(spec)
        return _look_at_script(spec)
    from asgd.worker.device.extras import aliases, extras
    from asgd.worker.device.flat import layout_hash, layout_of
    from asgd.worker.device.tables import warnings
    from asgd.worker.parallel.plan import check, stages_of
    from asgd.worker.reading.data import dataset_size, guarantee, open_batches
    from asgd.worker.reading.leased import LeasedBatch
    from asgd.worker.task.build import build_task
    from asgd.worker.task.probing import take_probe

    task = build_task(spec)
    layout = layout_of(task.model)
    take_probe(task, spec)
    dataset = dataset_size(task, spec.entrypoint)
    if dataset is None:
        _refuse_epochs(spec, "this entrypoint's data is a stream")
    if spec.stop_after.metric is not None and task.evaluate is None:
        raise UserError(f"spec.stopAfter.metric: {spec.entrypoint} returns a Task without `evaluate`")
    leases = iter([(0, 0, min(dataset or 1, spec.batch_size))])
    batches = open_batches(task, spec, 0, lambda: next(leases, None))
    first = next(batches) if stages_of(spec) > 1 else None
    if isinstance(first, LeasedBatch):
        check(task, spec, first.batch)
    return Findings(
        layout=layout_hash(layout),
        size=sum(math.prod(shape) for _, shape in layout),
        dataset=dataset,
        guarantee=guarantee(task),
        evaluates=task.evaluate is not None,
        extras=sorted(extras(task.model)),
        aliases=aliases(task.model),
        warnings=warnings(task.model),
    )


def _look_at_script(spec: JobSpec) -> Findings:
    """A script is only read: running it would train."""
    from asgd.worker.task.entrypoint import expose, find_file
    from asgd.worker.users_code import sentence

    path = find_file(spec.entrypoint, expose(spec))
    try:
        compile(path.read_bytes(), str(path), "exec")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint} is no Python script: {sentence(error)}"
        ) from error
    _refuse_epochs(spec, "a script reads data of its own")
    return Findings(script=True)


def _refuse_epochs(spec: JobSpec, why: str) -> None:
    """Epochs can be counted only over data of a known size."""
    schedule = spec.optimizer.schedule
    if spec.stop_after.epochs is not None:
        raise UserError(
            f"spec.stopAfter.epochs: {spec.stop_after.epochs:g}, which is also what an absent stopAfter means, needs"
            f" data of a known size, and {why}; allowed here: updates, samples, seconds, metric"
        )
    if schedule.unit == "epochs" and (schedule.name != "constant" or schedule.warmup):
        raise UserError(
            f"spec.optimizer.schedule.unit: epochs needs data of a known size, and {why}; allowed here: samples"
        )


def main() -> int:
    """Looks at the job in argv[1] and writes findings to argv[2]."""
    from asgd.host.orphans import end_with_parent
    from asgd.spec import job_from_json

    end_with_parent()
    try:
        findings = look(job_from_json(Path(sys.argv[1]).read_bytes()).spec)
    except UserError as error:
        print(f"asgd: {error}", file=sys.stderr)
        return UserError.exit_code
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(findings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
