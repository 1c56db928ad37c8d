"""What is rarely meant where a job asks for GPUs: warnings, one sentence each, by the names of device plugins."""

from __future__ import annotations

import re
from collections.abc import Iterator

from asgd.spec.types import Devices, Job

_GPU = re.compile(r"nvidia\.com/(gpu|mig-)|amd\.com/gpu|gpu\.intel\.com/")
_INTEL = "gpu.intel.com/"
_SLICE = "nvidia.com/mig-"
_SHARED = ".shared"


def is_gpu(resource: str) -> bool:
    """Whether a device plugin calls a GPU, or a part of one, by this name of a resource."""
    return _GPU.match(resource) is not None


def warnings(job: Job) -> Iterator[str]:
    """Of workers and evaluator."""
    workers = job.spec.workers
    limits = workers.resources.get("limits") or {}
    named = next((name for name in limits if is_gpu(str(name))), None) if isinstance(limits, dict) else None
    if named and not workers.devices.count:
        yield (
            f"spec.workers.resources.limits: {named} is taken by each worker, whose model is trained on the CPU, unless"
            " a script of your own moves it; ask by workers.devices: {count: 1,"
            f" resourceName: {named}}}"
        )
    for path, devices in (("workers", workers.devices), ("evaluation", job.spec.evaluation.devices)):
        if devices.count:
            yield from _named(f"spec.{path}.devices", devices)


def _named(path: str, devices: Devices) -> Iterator[str]:
    name, count = devices.resource_name, devices.count
    if name.startswith(_INTEL):
        yield f"{path}.resourceName: {name}: models are trained on what PyTorch calls cuda, and Intel's GPUs are not"
    if count > 1 and name.startswith(_SLICE):
        yield (
            f"{path}.count: {count} of {name}: CUDA shows a process one MIG slice only, so that the worker would see"
            " 1 and end; take a larger slice, or more workers"
        )
    if count > 1 and name.endswith(_SHARED):
        yield (
            f"{path}.count: {count} of {name}: more shares of a GPU are no larger part of it, and may be the same GPU"
            " twice; take 1"
        )
