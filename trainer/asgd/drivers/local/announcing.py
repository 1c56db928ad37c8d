"""What a run is about, for its first lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from asgd.report.precision import full, precision
from asgd.report.units import plural
from asgd.spec import Job
from asgd.spec.groups import counted
from asgd.worker.task.check import Findings


def announce(job: Job, findings: Findings, output: Path) -> Iterator[str]:
    """Lines about `job`, whose files go into the folder `output`."""
    spec = job.spec
    data = f"{findings.dataset:,} samples" if findings.dataset else "a stream"
    what = f"the script {spec.entrypoint}" if findings.script else f"{findings.size:,} parameters, {data}"
    servers, workers = spec.parameter_server.shards, spec.workers.replicas
    yield f"{job.name}: {what}, {plural(servers, 'parameter server')}, {plural(workers, 'worker')}"
    if spec.workers.autoscale:
        yield f"workers.autoscale: asgd run starts {plural(workers, 'worker')} and leaves it at that; a cluster scales"
    if spec.optimizer.groups and not findings.script:
        sizes = [(name, math.prod(shape)) for name, shape in findings.tensors]
        yield f"parameter groups: {'; '.join(counted(spec.optimizer, sizes))}"
    types = precision(findings.kinds, spec.codec)
    if not full(types):
        yield types
    yield f"files in {output}"
