"""What a process runs on, as a metric: joined with others it tells which of them came with which version."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from asgd import __version__


def build_info(name: str, package: str) -> Metric:
    """1, with the versions of the program, of Python and of `package` as labels."""
    labels = {"version": __version__, "python": platform.python_version(), package: _version(package)}
    says = "Versions of the program and of what it runs on."
    family = GaugeMetricFamily(name, says, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
