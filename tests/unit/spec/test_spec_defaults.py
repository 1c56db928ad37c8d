"""Defaults are filled in as the API server does it, and filling them in twice changes nothing."""

from __future__ import annotations

import copy
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgd.spec.check import complete
from asgd.spec.rules import _ABSENT, _typed, _walk
from asgd.spec.schema import Schema, structural

SPEC = structural()["properties"]["spec"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters, max_size=4), inner)
    ),
    max_leaves=8,
)


def documents_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values shaped by the schema, with fields left out, set to null or to something else altogether."""
    if "properties" not in schema:
        return JSON
    fields = {key: documents_of(inner) for key, inner in schema["properties"].items()}
    return st.none() | st.fixed_dictionaries({}, optional=fields)


@settings(suppress_health_check=[HealthCheck.too_slow])  # it measures the machine, not the code
@given(documents_of(SPEC))
def test_filling_in_defaults_twice_is_the_same_as_once(spec: Any) -> None:
    once = complete({"spec": spec})
    assert complete(once) == once


@settings(suppress_health_check=[HealthCheck.too_slow])  # it measures the machine, not the code
@given(documents_of(SPEC))
def test_what_the_user_gave_stays_as_it_is_and_the_document_is_not_touched(spec: Any) -> None:
    before = copy.deepcopy(spec)
    result = complete({"spec": spec}).get("spec")
    assert spec == before
    for key, value in (spec or {}).items():
        if isinstance(value, (str, bool, int)):
            assert result[key] == value


def test_a_stop_rule_of_the_users_own_is_not_joined_by_the_default() -> None:
    given = complete({"spec": {"stopAfter": {"updates": 5}}})
    assert given["spec"]["stopAfter"] == {"updates": 5}
    assert complete({"spec": {}})["spec"]["stopAfter"] == {"epochs": 20}


def test_absent_and_null_objects_get_all_their_defaults() -> None:
    expected = complete({"spec": {}})["spec"]["workers"]
    assert expected["devices"] == {"count": 0, "resourceName": "nvidia.com/gpu"}
    assert complete({"spec": {"workers": None}})["spec"]["workers"] == expected


def test_optional_objects_stay_absent_until_they_are_given() -> None:
    assert "outerOptimizer" not in complete({"spec": {"outerOptimizer": None}})["spec"]
    outer = complete({"spec": {"outerOptimizer": {}}})["spec"]["outerOptimizer"]
    assert outer["learningRate"] == 1
    assert outer["schedule"]["name"] == "constant"


def test_nulls_in_free_form_fields_are_the_users_own() -> None:
    assert complete({"spec": {"args": {"a": None}}})["spec"]["args"] == {"a": None}


def test_the_generated_json_is_what_the_crd_says() -> None:
    import yaml

    crd = yaml.safe_load(
        (Path(__file__).resolve().parents[3] / "crds" / "asgdjobs.asgd.dev.yaml").read_text()
    )
    assert crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == structural()


def test_each_default_keeps_the_rules_as_it_is_written_as_the_api_server_asks_of_a_crd() -> None:
    """The API server refuses the whole CRD for a rule that counts on a default within the default."""
    found = list(_defaults(structural(), ()))
    assert len(found) > 20
    for path, schema in found:
        assert list(_walk(_typed(schema["default"], schema), _ABSENT, schema, path)) == [], ".".join(path)


def _defaults(schema: Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Schema]]:
    if "default" in schema:
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _defaults(inner, (*path, name))
    if isinstance(schema.get("items"), dict):
        yield from _defaults(schema["items"], (*path, "[]"))
