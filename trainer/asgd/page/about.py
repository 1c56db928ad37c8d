"""What a page says of a job that does not change: its spec, its commands, the bound on staleness."""

from __future__ import annotations

import time
from pathlib import Path

from asgd.page.commands import Cluster, Local
from asgd.page.model import About
from asgd.spec.types import Job, JobSpec


def bound_of(spec: JobSpec) -> int | None:
    """The staleness that the job allows, in updates; None where there is no bound."""
    if spec.exchange.staleness.max is not None:
        return spec.exchange.staleness.max
    bound = spec.algorithm.get("bound", 3) if spec.algorithm["name"] == "ssp" else None
    return bound if isinstance(bound, int) else None


def about_run(spec: JobSpec, job: str, folder: Path, text: str) -> About:
    """A run of `asgd run` that begins now; `text`: the job as YAML."""
    return About(
        job=job, folder=str(folder), spec=text, bound=bound_of(spec), commands=Local(str(folder)).told(),
        wall=time.time(),
    )  # fmt: skip


def about_pods(job: Job, run: str, text: str) -> About:
    """An AsgdJob on a cluster; `run`: its UID, `text`: the job as YAML."""
    return About(
        job=job.name, where="cluster", spec=text, bound=bound_of(job.spec), wall=time.time(), run=run,
        commands=Cluster(job.namespace, job.name, job.spec.workers.autoscale is not None).told(),
    )  # fmt: skip


def about_folder(folder: Path, job: str, *, simulated: bool) -> About:
    """A run that has left its files in `folder`."""
    try:
        text = (folder / "job.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    where = "simulated" if simulated else "here"
    return About(job=job, folder=str(folder), where=where, spec=text, commands=Local(str(folder)).told())
