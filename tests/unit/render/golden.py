"""The rendered children of `jobs/*.yaml` as reviewed YAML: the smallest job whole, each other as what differs from it.

Refresh: `.venv/bin/python -m tests.unit.render.golden`.
A change of what the operator renders shows as a diff of these files, and that diff is what a reviewer reads: a change
for all jobs is one change of `smallest.yaml`. So every job is rendered under the same name, and what follows from the
spec as a whole (hashes, the two JSON files that hold it) is left out; `test_children.py` has rules for these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from asgd_operator.constants import RENDERED_BY, RENDERED_HASH, SPEC_HASH
from asgd_operator.render import Manifest, Settings
from tests.unit.render.builders import JOBS, SETTINGS, rendered

GOLDEN = Path(__file__).parent / "golden"
SMALLEST = "smallest"
ABSENT = "(absent)"
WITH_MONITOR = Settings(SETTINGS.server_image, SETTINGS.trainer_image, pod_monitor=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def names() -> list[str]:
    """The jobs that have golden files."""
    return sorted(path.stem for path in JOBS.glob("*.yaml"))


def text(name: str) -> str:
    """What is reviewed of a job."""
    children = comparable(name)
    if name == SMALLEST:
        return yaml.dump_all(children.values(), Dumper=_Dumper, sort_keys=False, width=110)
    usual = comparable(SMALLEST)
    document = {
        "without": [title for title in usual if title not in children],
        "with": [child for title, child in children.items() if title not in usual],
        "changed": {
            title: changes
            for title, child in children.items()
            if title in usual and (changes := dict(differences(usual[title], child)))
        },
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110)


def comparable(name: str) -> dict[str, Manifest]:
    """All children of a job by kind and name, without what any change of the spec changes."""
    made = rendered("metadata.name=digits", name=name, settings=WITH_MONITOR)
    found = {}
    for child in made.all():
        for annotation in (RENDERED_BY, RENDERED_HASH):
            del child["metadata"]["annotations"][annotation]
        if child["kind"] == "ConfigMap":
            child["data"] = dict.fromkeys(child["data"], "the spec")
        plain = _replaced(child, {made.spec_hash, child["metadata"]["annotations"][SPEC_HASH]})
        found[f"{plain['kind']} {plain['metadata']['name']}"] = plain
    return found


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths whose values are others, and the new values; items of a list go by their names where they have some."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            below = f"{path}.{key}".lstrip(".")
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), below)
    elif (before := _by_name(old)) and (after := _by_name(new)) and _in_order(before, after):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), f"{path}[{key}]")
    else:
        yield path, new


def _by_name(value: Any) -> dict[str, Any] | None:
    """A list of named objects by their names; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(item, dict) and "name" in item for item in value):
        return None
    found = {str(item["name"]): item for item in value}
    return found if len(found) == len(value) else None


def _in_order(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether what both have stands in the same order: that of variables and mounts has a meaning."""
    return [key for key in one if key in other] == [key for key in other if key in one]


def _replaced(value: Any, hashes: set[str]) -> Any:
    """`value` with HASH for each hash, wherever one stands in a text."""
    if isinstance(value, dict):
        return {key: _replaced(item, hashes) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, hashes) for item in value]
    if isinstance(value, str):
        for one in hashes:
            value = value.replace(one, "HASH")
    return value


if __name__ == "__main__":
    for each in names():
        (GOLDEN / f"{each}.yaml").write_text(text(each), encoding="utf-8")
        print(f"wrote {GOLDEN.name}/{each}.yaml")
