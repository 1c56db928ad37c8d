"""Looks at the user's code before anything starts: imports the entrypoint, builds the task, reads one sample.

Runs as a process of its own, since it needs torch and the parent must not; answers with one JSON file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from asgd.errors import UserError
from asgd.spec.types import JobSpec


class Findings(Struct):
    """What the user's code is: empty layout for a script that joins by itself."""

    layout: str = ""
    size: int = 0
    dataset: int | None = None
    guarantee: str = ""
    evaluates: bool = False


def probe(job: Path) -> Findings:
    """Runs the probe on a checked job file. Raises UserError with the probe's own sentence."""
    with tempfile.TemporaryDirectory(prefix="asgd-probe-") as folder:
        answer = Path(folder) / "findings.json"
        done = subprocess.run(
            [sys.executable, "-m", "asgd.drivers.probe", str(job), str(answer)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
        )
        if done.returncode == UserError.exit_code:
            raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("asgd: "))
        if done.returncode:
            raise UserError(
                f"spec.entrypoint: looking at it ended with {done.returncode}:\n{done.stderr.strip()}"
            )
        return msgspec.json.decode(answer.read_bytes(), type=Findings)


def look(spec: JobSpec) -> Findings:
    """Builds the task here and describes it. Raises UserError."""
    from asgd.worker.build import build_task, is_script
    from asgd.worker.data import dataset_size, guarantee, open_batches
    from asgd.worker.devices import choose_device
    from asgd.worker.flat import layout_hash, layout_of

    choose_device(spec.workers.devices.count, 0)
    if is_script(spec.entrypoint):
        if not Path(spec.entrypoint).is_file():
            raise UserError(f"spec.entrypoint: no file {spec.entrypoint} in {Path.cwd()}")
        return Findings()
    task = build_task(spec)
    layout = layout_of(task.model)
    dataset = dataset_size(task, spec.entrypoint)
    rule = spec.stop_after
    if dataset is None and rule.epochs is not None:
        raise UserError(
            "spec.stopAfter.epochs: needs data of a known size, and this entrypoint's data is a stream;"
            " allowed here: updates, samples, seconds, metric"
        )
    if (
        dataset is None
        and spec.optimizer.schedule.name != "constant"
        and spec.optimizer.schedule.unit == "epochs"
    ):
        raise UserError(
            "spec.optimizer.schedule.unit: epochs needs data of a known size, and this entrypoint's data is a"
            " stream; allowed here: samples"
        )
    if rule.metric is not None and task.evaluate is None:
        raise UserError(f"spec.stopAfter.metric: {spec.entrypoint} returns a Task without `evaluate`")
    leases = iter([(0, 0, 1)])
    open_batches(task, spec, 0, lambda: next(leases, None))
    size = sum(_count(shape) for _, shape in layout)
    return Findings(layout_hash(layout), size, dataset, guarantee(task), task.evaluate is not None)


def _count(shape: list[int]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def main() -> int:
    """Looks at the job in argv[1] and writes findings to argv[2]."""
    from asgd.spec import job_from_json

    try:
        findings = look(job_from_json(Path(sys.argv[1]).read_bytes()).spec)
    except UserError as error:
        print(f"asgd: {error}", file=sys.stderr)
        return UserError.exit_code
    Path(sys.argv[2]).write_text(json.dumps(msgspec.to_builtins(findings)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
