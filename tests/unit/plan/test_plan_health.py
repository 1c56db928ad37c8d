"""The health of a job for GitOps, as docs/operate.md has it for Flux and Argo CD, on statuses that the plan writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cel_expr_python import cel

from asgd_operator.constants import Condition
from tests.unit.plan.builders import Scene, make_job

GUIDE = (Path(__file__).resolve().parents[3] / "docs/operate.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.S)
FLUX = next(
    yaml.safe_load(block)["spec"]["healthCheckExprs"][0] for block in BLOCKS if "healthCheckExprs" in block
)
SCENES: dict[str, tuple[Scene, str]] = {
    "never looked at": (make_job(), "inProgress"),
    "starting": (make_job().with_supports().with_servers(ready=0).written(), "unknown"),
    "running": (make_job().running(), "current"),
    "running, edited since": (make_job().running().edited(), "inProgress"),
    "suspended": (make_job().stopped(), "current"),
    "refused": (make_job().with_problem("QuotaExceeded", "exceeded quota").written(), "failed"),
    "failed": (make_job().running().with_condition(Condition.FAILED, "True", "Diverged"), "failed"),
    "complete": (make_job().running().with_condition(Condition.COMPLETE, "True", "TargetReached"), "current"),
}


def verdict(scene: Scene) -> str:
    """As Flux asks: the first that holds; `unknown` is in progress for it, too."""
    names = dict.fromkeys(("metadata", "status"), cel.Type.DYN)
    environment = cel.NewEnv(variables=names)
    data: dict[str, Any] = {
        "metadata": {"generation": scene.seen.generation},
        "status": dict(scene.seen.status),
    }
    for name in ("inProgress", "failed", "current"):
        if environment.compile(FLUX[name]).eval(data=data).value() is True:
            return name
    return "unknown"


@pytest.mark.parametrize("name", SCENES)
def test_flux_sees_of_a_job_what_its_conditions_say(name: str) -> None:
    scene, expected = SCENES[name]
    assert verdict(scene) == expected


def test_argo_cds_check_asks_for_conditions_that_there_are() -> None:
    lua = next(block for block in BLOCKS if "health.asgd.dev_AsgdJob" in block)
    asked = set(re.findall(r'holds\("(\w+)"\)|found\["(\w+)"\]', lua))
    assert {name for pair in asked for name in pair if name} <= {kind.value for kind in Condition}
