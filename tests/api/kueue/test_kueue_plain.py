"""Jobs in the queues of a real Kueue with the feature gates that it has by itself: another number is another start."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.acting import OperatorProcess, until
from tests.api.kueue.queued import make_queue, rule, size
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]


def test_without_kueues_elastic_jobs_a_job_that_grows_is_put_back_as_a_whole_and_comes_again(
    kubectl: Kubectl, running: OperatorProcess, plain: None, pods_run: None, jobs: Any
) -> None:
    make_queue(kubectl, "plain", 3)
    job = jobs("plain", "plain")
    job.phase("Running")
    before = job.workers()
    job.edit(workers={"replicas": 3})
    job.ready(3)
    job.phase("Running")
    assert not before & job.workers(), "all were started again"
    assert job.status["workers"]["failed"] == 0


def test_without_kueues_elastic_jobs_the_number_stays_and_says_why(
    kubectl: Kubectl, running: OperatorProcess, plain: None, pods_run: None, jobs: Any
) -> None:
    make_queue(kubectl, "rigid", 8)
    job = jobs("rigid", "rigid", autoscale=rule(0))
    job.ready(2)
    before = job.workers()
    job.advise(4, 2)
    why = "queue team would start all workers anew for another number"
    until(lambda: job.number.get("reason", "").startswith(why), "it is told")
    passes = running.passes()
    until(lambda: running.passes() > passes + 3, "nothing is done about it")
    assert (size(job), job.workers()) == (2, before)
