"""Causes that hamper a job that trains, and jobs that nobody looks at: what is wrong, and what the job is to say."""

from __future__ import annotations

from typing import Any

from tests.e2e.causes import Cause

_CODE = """\
import os
import time

from asgd.examples import digits

INDEX = os.environ.get("JOB_COMPLETION_INDEX", "")

def task(what="", seconds=0.05):
    found = digits.task(model="mlp")
    loss, steps = found.loss, [0]

    def paced(model, batch):
        steps[0] += 1
        if INDEX == "1" and what == "hangs" and steps[0] > 20:
            print("waiting for a lock", flush=True)
            time.sleep(100000)
        time.sleep(0.4 if INDEX == "1" and what == "slow" else seconds)
        # NB: a worker that is alone for a while must not end the job as diverged.
        poisoned = INDEX == "1" and what == "poisons" and steps[0] % 8 < 4
        return loss(model, batch) * (float("nan") if poisoned else 1)

    def evaluate(model):
        raise ValueError("no labels.csv")

    found.loss = paced
    if what == "evaluates":
        found.evaluate = evaluate
    return found
"""


def _paced(what: str = "", workers: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "source": {"bad.py": _CODE},
        "entrypoint": "bad:task",
        "args": {"what": what},
        "stopAfter": {"epochs": 100000},
        "workers": {"replicas": workers},
    } | more


_THREE = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "three"},
    "spec": {"hard": {"count/jobs.batch": "5", "pods": "3"}},
}
HAMPERED = (
    Cause(
        "hung-worker",
        "a worker lives and makes no progress",
        "WorkerHung",
        ("orker 1",),
        _paced("hangs", workers=2) | {"workers": {"replicas": 2, "progressDeadlineSeconds": 8}},
    ),
    Cause(
        "slow-worker",
        "a worker's steps take eight times as long as the others'",
        "TrainingProgressing",
        (),
        _paced("slow"),
    ),
    Cause(
        "refused-pushes",
        "a worker pushes what is not finite",
        "PushesRefused",
        ("orker 1",),
        _paced("poisons"),
    ),
    Cause(
        "no-labels",
        "the task's evaluate raises",
        "EvaluationFailing",
        ("evaluate raised ValueError: no labels.csv (bad.py:",),
        _paced("evaluates", workers=1, evaluation={"everySeconds": 2}),
    ),
    Cause(
        "one-too-many",
        "a ResourceQuota leaves room for one of two workers",
        "FewerThanDesired",
        ("Fewer workers are ready",),
        _paced(),
        (_THREE,),
    ),
    Cause(
        "elsewhere",
        "another controller is to take care of it",
        "",
        (),
        {"managedBy": "team.example.com/own"},
    ),
)
SILENT = frozenset({"slow-worker", "one-too-many", "elsewhere"})
"""No event tells of these."""
