"""From rendered children to what the plan chooses among: each manifest with its hashes and its stage."""

from __future__ import annotations

from collections.abc import Iterator

from asgd_operator.constants import RENDERED_HASH, SPEC_HASH
from asgd_operator.plan.model import Wanted
from asgd_operator.render import Children, Manifest

_STAGES = {"servers": "server", "workers": "worker", "evaluator": "evaluator"}
_ONCE = frozenset({"keys", "monitor", "gang"})
"""Not watched: Secrets must not be listed, and the kinds of the others may not exist in the cluster."""


def wanted(children: Children) -> tuple[Wanted, ...]:
    """All children that the job has, in the order in which they are applied."""
    return tuple(_each(children))


def _each(children: Children) -> Iterator[Wanted]:
    for field in children.__dataclass_fields__:
        manifest = getattr(children, field)
        if isinstance(manifest, dict):
            yield _one(manifest, _STAGES.get(field, "support"), once=field in _ONCE)


def _one(manifest: Manifest, stage: str, *, once: bool) -> Wanted:
    metadata = manifest["metadata"]
    marks = metadata["annotations"]
    return Wanted(
        kind=manifest["kind"],
        name=metadata["name"],
        spec_hash=marks[SPEC_HASH],
        rendered_hash=marks[RENDERED_HASH],
        manifest=manifest,
        stage=stage,
        once=once,
    )
