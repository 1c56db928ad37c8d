"""Scalars mean what they mean to kubectl; `tests/api` compares the same table with the real one."""

from __future__ import annotations

import pytest

from asgd.spec.scalars import BadScalar, resolve

SCALARS: dict[str, object] = {
    "5e-4": 0.0005,
    "1e5": 100000,
    "1E-9": 1e-9,
    "1e21": 1e21,
    "1e400": "1e400",
    "4.0": 4,
    "1.": 1,
    ".5": 0.5,
    "-.5": -0.5,
    ".5_0": 0.5,
    "._5": "._5",
    ".": ".",
    "-": "-",
    "-0": 0,
    "-0.0": 0,
    "+5": 5,
    "010": 8,
    "-010": -8,
    "0o10": 8,
    "09": 9,
    "0x1F": 31,
    "0X1F": 31,
    "0b11": 3,
    "0b2": "0b2",
    "0x": "0x",
    "1_000": 1000,
    "_1": "_1",
    "0x1p-2": "0x1p-2",
    "0xFFFFFFFFFFFFFFFFF": "0xFFFFFFFFFFFFFFFFF",
    "9223372036854775807": 9223372036854775807,
    "18446744073709551616": 1.8446744073709552e19,
    "1:30": "1:30",
    "2026-11-22": "2026-11-22",
    "1.2.3": "1.2.3",
    "1e": "1e",
    "yes": True,
    "On": True,
    "y": True,
    "yEs": "yEs",
    "no": False,
    "OFF": False,
    "N": False,
    "true": True,
    "False": False,
    "~": None,
    "": None,
    "Null": None,
    "None": "None",
    "=": "=",
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=repr)
def test_a_plain_scalar_is_what_kubectl_reads(text: str, value: object) -> None:
    found = resolve(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("str", "12", "12"),
        ("float", "3", 3),
        ("int", "0x10", 16),
        ("bool", "on", True),
        ("binary", "aGk=", "hi"),
    ],
)
def test_a_tag_decides_over_the_looks(tag: str, text: str, value: object) -> None:
    assert resolve(text, f"tag:yaml.org,2002:{tag}") == value


@pytest.mark.parametrize(
    ("tag", "text"), [("int", "3.5"), ("bool", "maybe"), ("binary", "%"), ("set", "x"), ("float", ".inf")]
)
def test_a_tag_that_does_not_fit_is_refused(tag: str, text: str) -> None:
    with pytest.raises(BadScalar):
        resolve(text, f"tag:yaml.org,2002:{tag}")


@pytest.mark.parametrize("text", [".inf", "-.INF", "+.Inf", ".nan"])
def test_what_json_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(BadScalar, match="not a finite number"):
        resolve(text)
