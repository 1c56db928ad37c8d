"""Rendered jobs for tests: a job file with `--set` options, loaded as every command loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asgd.spec import Job, load_job
from asgd_operator.render import Children, Keys, Manifest, Owner, Settings, children

JOBS = Path(__file__).parent / "jobs"
KEYS = Keys("server-public", "server-secret", "client-public", "client-secret", "page-token")
SETTINGS = Settings(server_image="asgd-operator:test", trainer_image="asgd-trainer:test")


def job(*sets: str, name: str = "smallest") -> Job:
    """One of `jobs/` with `path=value` options."""
    return load_job(JOBS / f"{name}.yaml", sets)


def rendered(*sets: str, name: str = "smallest", settings: Settings = SETTINGS) -> Children:
    """Its children in the namespace `train`, with fixed keys."""
    made = job(*sets, name=name)
    return children(made, Owner("11111111-2222-3333-4444-555555555555", made.name, "train"), settings, KEYS)


def pod(workload: Manifest) -> Manifest:
    """The pod spec of a StatefulSet or a Job."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> Manifest:
    """The main container of a workload."""
    return next(item for item in pod(workload)["containers"] if item["name"] == "asgd")


def environment(workload: Manifest) -> dict[str, Any]:
    """Name -> value, or the field that it is read from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(workload)["env"]}
