"""The API server's book of fields, read against a manifest: what is ours no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgd_operator.plan.fields import Field, holds, missing

MANIFEST = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "x", "labels": {"app": "x", "asgd.dev/role": "server"}},
    "spec": {
        "selector": {"app": "x"},
        "ports": [{"port": 1, "name": "a"}, {"port": 2, "protocol": "TCP"}],
        "ranges": ["10.0.0.0/8"],
        "empty": {},
        "none": None,
    },
}
BOOK = {
    "f:metadata": {"f:labels": {"f:app": {}, "f:asgd.dev/role": {}}},
    "f:spec": {
        "f:selector": {},
        "f:ports": {
            'k:{"port":1,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}},
            'k:{"port":2,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}},
        },
        "f:ranges": {'v:"10.0.0.0/8"': {}},
    },
}


def without(book: dict[str, Any], *steps: str) -> str:
    copy: dict[str, Any] = json.loads(json.dumps(book))
    node = copy
    for step in steps[:-1]:
        node = node[step]
    if steps:
        del node[steps[-1]]
    return json.dumps(copy)


@pytest.mark.parametrize(
    ("steps", "paths"),
    [
        ((), []),
        (("f:spec", "f:selector"), [".spec.selector.app"]),
        (("f:metadata", "f:labels", "f:asgd.dev/role"), [".metadata.labels[asgd.dev/role]"]),
        (("f:metadata",), [".metadata.labels"]),
        (("f:spec", "f:ports", 'k:{"port":1,"protocol":"TCP"}', "f:name"), [".spec.ports[a].name"]),
        (("f:spec", "f:ports", 'k:{"port":2,"protocol":"TCP"}'), [".spec.ports[2]"]),
        (("f:spec", "f:ranges"), [".spec.ranges"]),
        (("f:spec",), [".spec"]),
    ],
)
def test_a_field_that_is_gone_from_the_book_is_named(steps: tuple[str, ...], paths: list[str]) -> None:
    assert [field.path for field in missing(without(BOOK, *steps), MANIFEST)] == paths


def test_who_owns_a_whole_owns_its_parts_and_who_owns_a_part_touches_the_whole() -> None:
    selector = Field.of("spec", "selector")
    assert holds('{"f:spec":{"f:selector":{}}}', selector.key("app"))
    assert holds('{"f:spec":{"f:selector":{"f:app":{}}}}', selector)
    assert not holds('{"f:spec":{"f:ports":{}}}', selector)
    assert not holds("{}", selector)
