"""Before a run trains: torch and the user's code are imported, the task is built once in a process of its own.

What is wrong with the user's code is told in one sentence, before anything has been started that could be left behind.
All of it together has `runPolicy.startupDeadlineSeconds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asgd.drivers.display import Display
from asgd.drivers.local.children import deaths
from asgd.drivers.local.patience import Patience
from asgd.drivers.local.starter import Order, Starter
from asgd.host.available import available_cores
from asgd.report import curves
from asgd.spec.types import JobSpec
from asgd.worker.task.check import Findings, findings_of

_CHECK = "asgd.worker.task.check"


def look_at_code(
    spec: JobSpec, job: Path, places: Mapping[str, str], starter: Starter, display: Display
) -> Findings:
    """What the user's code of `job`, the checked job's file, is. `places`: where it is looked for.

    Raises UserError with what is wrong with it, or when it is not done at the deadline.
    """
    patience = Patience(display, spec.run_policy.startup_deadline_seconds)
    starter.begin_servers(patience)
    if available_cores() > 1:
        # There is a core that has nothing to do until torch is imported.
        curves.load()
    starter.import_torch(patience)
    entrypoint = spec.entrypoint
    name = entrypoint if entrypoint.endswith(".py") else entrypoint.rpartition(":")[0]
    if slow := starter.import_entrypoint(job, places, name, patience):
        display.note(slow)
    findings = _check(job, places, starter, patience, f"building and trying the task of {name}")
    if findings.untried:
        display.note(
            f"{findings.untried} takes long: it was not tried to its end before the start", matters=False
        )
    return findings


def _check(
    job: Path, places: Mapping[str, str], starter: Starter, patience: Patience, doing: str
) -> Findings:
    answer, log = job.with_name("findings.json"), job.with_name("check.log")
    order = Order("asgd check", f"{_CHECK}:main", _CHECK, [str(job), str(answer)], {**places}, log)
    (process,) = starter.start_workers([order])
    try:
        with deaths([process]) as ended:
            patience.wait(doing, lambda: process.poll() is not None, lambda: ended)
    finally:
        process.kill()
    return findings_of(process.wait(), answer, log)
