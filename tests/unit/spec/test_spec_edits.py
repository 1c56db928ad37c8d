"""Which edits of a job the API allows: live fields at any time, all others only around a suspension.

That each field is one of the two is shown by `test_spec_live.py`; here stand samples of all kinds of values.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from asgd.spec import JobError, check_document

JOB: dict[str, Any] = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "metadata": {"name": "digits"},
    "spec": {
        "entrypoint": "tasks:digits",
        "args": {"lr": 1},
        "exchange": {"fetchEvery": 2},
        "workers": {"podTemplate": {"spec": {"nodeSelector": {"pool": "a"}}}},
        "checkpoint": {"uri": "/data"},
    },
}
FROZEN: dict[str, Any] = {
    "entrypoint": "tasks:other",
    "source": {"a.py": "x = 1"},
    "args": {"lr": 2},
    "args.new": 1,
    "image": "other",
    "algorithm.mode": "delta",
    "optimizer.learningRate": 0.2,
    "outerOptimizer": {"momentum": 0.5},
    "batchSize": 8,
    "seed": 1,
    "exchange.pushEvery": 2,
    "codec.push": "bf16",
    "outliers.factor": 1e4,
    "onDivergence": "Rollback",
    "rollback.limit": 5,
    "rollback.rateFactor": 0.1,
    "buffers": "average",
    "parameterServer.shards": 2,
    "parameterServer.podTemplate": {"spec": {"priority": 1}},
    "workers.devices.count": 1,
    "workers.stages": 2,
    "workers.threads": 2,
    "workers.resources": {"limits": {"cpu": 1}},
    "workers.backoffLimitPerIndex": 1,
    "workers.exitCodes.fatal": [3],
    "workers.drainSeconds": 5,
    "workers.nodeLossTimeoutSeconds": 5,
    "workers.podTemplate": {"spec": {"nodeSelector": {"pool": "b"}}},
    "checkpoint.uri": "/other",
    "checkpoint.volume": {"pvc": "x"},
    "checkpoint.restore": "None",
    "scheduling.queueName": "q",
    "evaluation.ema": 0.99,
    "checkpoint.best": {"metric": "accuracy", "mode": "max"},
    "scheduling.gang": {},
    "network.policy": "Disabled",
    "metrics.port": 9999,
    "chaos.byzantine": [{"attack": "zero", "workers": [1]}],
}
LIVE: dict[str, Any] = {
    "workers.replicas": 5,
    "workers.minReplicas": 2,
    "workers.maxReplicas": 9,
    "workers.autoscale": {"min": 2, "max": 9},
    "workers.progressDeadlineSeconds": 90,
    "runPolicy.cleanPodPolicy": "All",
    "runPolicy.ttlSecondsAfterFinished": 5,
    "runPolicy.activeDeadlineSeconds": 5,
    "runPolicy.startupDeadlineSeconds": 5,
    "runPolicy.progressDeadlineSeconds": 5,
    "stopAfter": {"updates": 5},
    "divergence.factor": 5,
    "checkpoint.everySeconds": 5,
    "checkpoint.everyUpdates": 5,
    "checkpoint.everyEpochs": 0.5,
    "checkpoint.keep": 1,
    "evaluation.everySeconds": 1,
    "evaluation.everyUpdates": 5,
    "evaluation.everyEpochs": 0.5,
    "evaluation.devices.count": 1,
}


def edited(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    node = result["spec"]
    *way, last = path.split(".")
    for step in way:
        node = node.setdefault(step, {})
    node[last] = value
    return result


def suspended(document: dict[str, Any], on: bool = True) -> dict[str, Any]:
    return edited(document, "runPolicy.suspend", on)


@pytest.mark.parametrize("path", FROZEN)
def test_a_frozen_field_is_refused_while_the_job_runs(path: str) -> None:
    with pytest.raises(JobError, match="frozen while the job runs; set runPolicy"):
        check_document(edited(JOB, path, FROZEN[path]), old=JOB)


@pytest.mark.parametrize("path", FROZEN)
def test_a_frozen_field_that_goes_away_is_refused_too(path: str) -> None:
    with pytest.raises(JobError, match="frozen while the job runs"):
        check_document(JOB, old=edited(JOB, path, FROZEN[path]))


@pytest.mark.parametrize("path", FROZEN)
def test_a_frozen_field_moves_while_suspended_by_the_suspending_and_by_the_resuming_edit(path: str) -> None:
    new = edited(JOB, path, FROZEN[path])
    check_document(suspended(new), old=JOB)
    check_document(suspended(new), old=suspended(JOB))
    check_document(new, old=suspended(JOB))


@pytest.mark.parametrize("path", LIVE)
def test_a_live_field_moves_while_the_job_runs(path: str) -> None:
    assert check_document(edited(JOB, path, LIVE[path]), old=JOB)


def test_replicas_is_refused_while_autoscale_sets_the_number_and_moves_with_the_edit_that_ends_that() -> None:
    scaled = edited(JOB, "workers.autoscale", {"min": 2, "max": 9})
    more = edited(scaled, "workers.replicas", 6)
    with pytest.raises(JobError, match=r"6 is the number to start with while workers\.autoscale is set"):
        check_document(more, old=scaled)
    check_document(more, old=JOB)
    check_document(edited(JOB, "workers.replicas", 6), old=scaled)
    check_document(more, old=suspended(scaled))
    check_document(edited(scaled, "workers.autoscale.max", 3), old=scaled)


def test_suspending_is_an_edit_that_is_always_allowed() -> None:
    check_document(suspended(JOB), old=JOB)
    check_document(JOB, old=suspended(JOB))


def test_the_managing_controller_never_changes() -> None:
    new = edited(JOB, "managedBy", "example.com/other")
    with pytest.raises(JobError, match="is immutable"):
        check_document(suspended(new), old=suspended(JOB))
