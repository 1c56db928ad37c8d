"""A job is put away and taken up again with another number of shards, and loses nothing but time."""

from __future__ import annotations

import pytest

from tests.cluster.shell import ClusterError
from tests.e2e.jobs import SAMPLES, paced, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(600)


def test_a_suspended_job_goes_on_from_the_same_update_with_three_shards(release: Release) -> None:
    job = release.job("paused")
    job.apply(paced(epochs=20, checkpoint=job.claim())).trains_with(2)
    until(lambda: job.updates() > 20, "there are updates")
    with pytest.raises(ClusterError, match=r"spec\.batchSize: .*frozen while the job runs"):
        job.edit(batchSize=64)

    job.edit(runPolicy={"suspend": True})
    job.wait("Suspended")
    assert job.pods() == []
    saved = job.status["training"]["updates"]
    assert saved > 20

    job.edit(parameterServer={"shards": 3}, runPolicy={"suspend": False})
    told = until(lambda: job.told(), "shard 0 answers")
    assert told["updates"] == saved
    job.trains_with(2)
    assert len(job.ready("server")) == 3
    job.hurry()
    job.wait("Complete")
    training = job.status["training"]
    assert (training["samples"], training["lostUpdates"]) == (20 * SAMPLES, 0)
    assert {"Suspended", "Resumed", "Completed"} <= job.events()
    job.delete()
