"""Every status fits the CRD, whatever strangers say: nothing empty, nothing too long, nothing that is no number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import Phase, given, settings

from asgd.spec import schema
from asgd_operator.plan.fitting import fit
from tests.effort import examples
from tests.unit.plan.histories import History, histories

STATUS = schema.to_json_schema(schema.structural()["properties"]["status"])
VALIDATOR = jsonschema_rs.Draft202012Validator(STATUS)


def empties(value: Any, path: str = "status") -> Iterator[str]:
    """Where there are empty maps and lists, or nothing, inside."""
    if value is None or value in ({}, []):
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from empties(item, f"{path}.{key}")


@settings(max_examples=examples(120), deadline=None, phases=[Phase.generate])
@given(history=histories(look_again=True))
def test_successive_statuses_of_any_job_fit_the_crd_and_hold_nothing_empty(
    history: History,
) -> None:
    for status in history:
        assert [str(error) for error in VALIDATOR.iter_errors(status)] == []
        assert list(empties(status)) == []
    assert history.restless == [], "passes that find all as it was come to rest"


@pytest.mark.parametrize(
    ("given_", "fitted"),
    [
        ({"training": {"metrics": {}}}, {}),
        ({"training": {"metrics": {"a": float("nan")}, "updates": 1}}, {"training": {"updates": 1}}),
        ({"training": {"updates": 2**70}}, {"training": {"updates": 2**63 - 1}}),
        ({"training": {"stalenessP50": 2**31}}, {"training": {"stalenessP50": 2**31 - 1}}),
        ({"phase": "R" * 65}, {"phase": "R" * 63 + "…"}),
        ({"term": 0, "phase": ""}, {"term": 0, "phase": ""}),
        ({"training": {"epochs": 5.642611165936226e16}}, {"training": {"epochs": 56426111659362260}}),
    ],
    ids=str,
)
def test_what_the_schema_would_refuse_is_cut_to_its_bounds(
    given_: dict[str, Any], fitted: dict[str, Any]
) -> None:
    assert fit(given_) == fitted


def test_of_too_many_the_first_are_kept() -> None:
    many = {f"m{number}": 1.0 for number in range(65)}
    found = fit({"training": {"metrics": many, "rejectedWorkers": list(range(5000))}})["training"]
    assert list(found["metrics"]) == list(many)[:64]
    assert len(found["rejectedWorkers"]) == 4096
