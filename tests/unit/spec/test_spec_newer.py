"""A job of a newer CRD: what this version does not know is left out, named, and kept in the document."""

from __future__ import annotations

from typing import Any

import pytest

from asgd.errors import UserError
from asgd.spec.newer import known_part


def document(**spec: Any) -> dict[str, Any]:
    return {"kind": "AsgdJob", "metadata": {"name": "x"}, "spec": {"entrypoint": "m:f"} | spec}


def test_unknown_fields_are_left_out_and_named_at_every_depth() -> None:
    given = document(
        warp=9,
        optimizer={"name": "sgd", "schedule": {"name": "cosine", "dip": 1}},
        args={"anything": {"goes": 1}},
        workers={"podTemplate": {"spec": {"unheard": True}}},
    )
    job, left_out = known_part(given)
    assert left_out == ["spec.warp", "spec.optimizer.schedule.dip"]
    assert job.spec.optimizer.schedule.name == "cosine"
    assert job.spec.args == {"anything": {"goes": 1}}
    assert job.spec.workers.pod_template == {"spec": {"unheard": True}}
    assert job.document == given, "its hash is that of the children which run"


def test_a_value_of_another_type_cannot_be_read_even_so() -> None:
    with pytest.raises(UserError, match="not the JSON of a checked AsgdJob"):
        known_part(document(workers={"replicas": "many"}))
