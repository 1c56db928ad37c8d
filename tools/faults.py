"""Many seeds of `asgd simulate --faults` over six strategies with 1 and 3 shards, one process for each core.

    python tools/faults.py --seeds 1000

A seed that breaks an invariant prints one line with the command that replays it; the exit code is then 3.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from asgd import exitcodes
from asgd.commands.faults import failure
from asgd.drivers.virtual.faults.rehearsal import Finding, rehearse
from asgd.spec import load_job
from asgd.spec.types import Job

ROOT = Path(__file__).parent.parent
STRATEGIES = ("asgd", "easgd", "sync", "lsgd", "safeguard", "diloco")
SHARDS = (1, 3)
_PERIODS = ("easgd", "lsgd", "diloco")


@dataclass(frozen=True)
class Case:
    """A job of which seeds are run."""

    strategy: str
    shards: int

    @property
    def file(self) -> str:
        """The job's, from the repository's root."""
        return f"examples/{'digits' if self.strategy == 'asgd' else f'strategies/{self.strategy}'}.yaml"

    @property
    def sets(self) -> list[str]:
        """As behind `--set`."""
        period = ["algorithm.period=2"] if self.strategy in _PERIODS else []
        return ["workers.replicas=4", f"parameterServer.shards={self.shards}", *period]

    def job(self) -> Job:
        """The job itself."""
        return load_job(str(ROOT / self.file), self.sets)


CASES = tuple(Case(strategy, shards) for strategy in STRATEGIES for shards in SHARDS)


def run(case: Case, seeds: range) -> list[Finding]:
    """The findings of some seeds of a case."""
    job = case.job()
    return [rehearse(job, seed) for seed in seeds]


def sweep(seeds: int, first: int = 0) -> list[tuple[Case, Finding]]:
    """So many seeds in all, dealt to the cases in turn."""
    work = [(case, range(first + place, first + seeds, len(CASES))) for place, case in enumerate(CASES)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = [(case, pool.submit(run, case, part)) for case, part in work]
        return [(case, finding) for case, future in futures for finding in future.result()]


def main() -> int:
    """Prints what broke, and one closing line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    found = sweep(arguments.seeds, arguments.first)
    broken = [(case, finding) for case, finding in found if finding.broken]
    for case, finding in broken:
        print(failure(finding, case.file, case.sets))
    lost, revisited = sum(f.lost for _, f in found), sum(f.revisited for _, f in found)
    print(
        f"{len(found)} seeds in {time.monotonic() - began:.0f} s, {len(broken)} broken;"
        f" {lost} updates lost, {revisited} samples revisited"
    )
    return exitcodes.BROKEN if broken else exitcodes.DONE


if __name__ == "__main__":
    sys.exit(main())
