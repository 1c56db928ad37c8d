"""The evaluator's Job: made only where the spec leaves anything for it to do, and without a worker's GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from asgd_operator.render import Manifest
from tests.unit.render.builders import container, rendered

GPU, MIG = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"
LIMITS = f"limits: {{memory: 1Gi, {GPU}: 2, rdma/hca: 1}}"


def evaluator(*sets: str) -> Manifest:
    made = rendered(*sets).evaluator
    assert made is not None
    return made


def resources(workload: Manifest) -> dict[str, Any]:
    return dict(container(workload)["resources"])


def test_a_script_has_none_unless_loggers_run_in_it() -> None:
    script, logged = "entrypoint=train.py", "logging=[{wandb: {project: p}}]"
    made = rendered(script)
    assert made.evaluator is None
    assert [child["metadata"]["name"] for child in made.all() if child["kind"] == "Job"] == ["digits-worker"]
    assert rendered(script, logged).evaluator is not None
    assert rendered("entrypoint=train.py:task").evaluator is not None


@pytest.mark.parametrize(
    "asked",
    [
        f"workers.resources={{{LIMITS}}}",
        f"workers.podTemplate.spec.containers=[{{name: asgd, resources: {{{LIMITS}}}}}]",
    ],
    ids=["resources", "podTemplate"],
)
def test_gpus_among_the_workers_limits_are_not_asked_for_once_more(asked: str) -> None:
    """What computes on devices asks by `devices`; what data or networks need is the evaluator's, too."""
    assert resources(rendered(asked).workers)["limits"] == {"memory": "1Gi", GPU: 2, "rdma/hca": 1}
    assert resources(evaluator(asked))["limits"] == {"memory": "1Gi", "rdma/hca": 1}
    own = evaluator(asked, f"evaluation.devices={{count: 1, resourceName: {MIG}}}")
    assert resources(own)["limits"] == {"memory": "1Gi", "rdma/hca": 1, MIG: "1"}


def test_limits_and_requests_that_are_gpus_alone_leave_none() -> None:
    alone = f"workers.resources={{limits: {{{GPU}: 1}}, requests: {{{GPU}: 1}}}}"
    assert resources(rendered(alone).workers) == {"limits": {GPU: 1}, "requests": {GPU: 1}}
    assert resources(evaluator(alone)) == {}


def test_containers_of_the_users_own_keep_what_they_ask_for() -> None:
    beside = f"workers.podTemplate.spec.containers=[{{name: decode, image: x, resources: {{limits: {{{GPU}: 1}}}}}}]"
    spec = evaluator(beside)["spec"]["template"]["spec"]
    assert spec["containers"][1]["resources"] == {"limits": {GPU: 1}}


def test_loggers_of_a_script_need_no_device() -> None:
    made = evaluator("entrypoint=train.py", "logging=[{tensorboard: {}}]", "evaluation.devices.count=1")
    assert "limits" not in resources(made)
