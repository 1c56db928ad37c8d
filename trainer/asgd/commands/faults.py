"""`asgd simulate JOB.yaml --faults SEED`: one line of what came of it, and of how to see it again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from asgd import exitcodes
from asgd.drivers.virtual.faults.rehearsal import Finding, rehearse
from asgd.errors import UserError
from asgd.spec.types import Job


def run(job: Job, file: str, sets: Sequence[str], seed: int) -> int:
    """Rehearses `job` of `file`, changed by `sets`; returns the exit code. Raises UserError."""
    if seed < 0:
        raise UserError(f"--faults: {seed} is no seed; allowed: whole numbers from 0")
    finding = rehearse(job, seed)
    if finding.broken:
        print(failure(finding, file, sets))
        return exitcodes.BROKEN
    print(
        f"faults {seed}: all holds after {finding.seconds:.1f} virtual seconds and {finding.updates} updates;"
        f" {finding.lost} updates were lost and counted, {finding.revisited} samples visited again"
    )
    sys.stdout.flush()
    return exitcodes.DONE


def failure(finding: Finding, file: str, sets: Sequence[str]) -> str:
    """Which invariant does not hold, and the command that shows it again, in one line."""
    given = [word for item in sets for word in ("--set", item)]
    command = shlex.join(["asgd", "simulate", file, *given, "--faults", str(finding.seed)])
    return f"faults {finding.seed}: {finding.broken}. Again by: {command}"
