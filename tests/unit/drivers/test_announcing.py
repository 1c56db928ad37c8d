"""The first lines of a run say what of the job holds on a cluster alone."""

from pathlib import Path

from asgd.drivers.local.announcing import announce
from asgd.worker.task.check import Findings
from tests.checks.virtual import job


def test_a_run_says_that_it_leaves_the_number_of_workers_as_it_is() -> None:
    def lines(**workers: object) -> list[str]:
        return [*announce(job(workers={"replicas": 3, **workers}), Findings(size=5), Path("out"))]

    said = "workers.autoscale: asgd run starts 3 workers and leaves it at that; a cluster scales"
    assert said in lines(autoscale={"min": 1, "max": 8})
    assert not any("autoscale" in line for line in lines())
