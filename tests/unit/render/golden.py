"""The rendered children of `jobs/*.yaml` as reviewed YAML.

Refresh: `.venv/bin/python -m tests.unit.render.golden`.
A change of what the operator renders shows as a diff of these files, and that diff is what a reviewer reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from asgd_operator.constants import RENDERED_BY
from asgd_operator.render import Settings
from tests.unit.render.builders import JOBS, SETTINGS, rendered

GOLDEN = Path(__file__).parent / "golden"
WITH_MONITOR = Settings(SETTINGS.server_image, SETTINGS.trainer_image, pod_monitor=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def names() -> list[str]:
    """The jobs that have golden files."""
    return sorted(path.stem for path in JOBS.glob("*.yaml"))


def text(name: str) -> str:
    """All children of a job as YAML, without the operator's version, which changes with each release."""
    manifests = rendered(name=name, settings=WITH_MONITOR).all()
    for manifest in manifests:
        del manifest["metadata"]["annotations"][RENDERED_BY]
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=110)


if __name__ == "__main__":
    for each in names():
        (GOLDEN / f"{each}.yaml").write_text(text(each), encoding="utf-8")
        print(f"wrote {GOLDEN.name}/{each}.yaml")
