"""Which value a YAML scalar means to `kubectl`: the rules of sigs.k8s.io/yaml, that is go-yaml v2, then JSON.

PyYAML follows YAML 1.1 by the letter and reads `5e-4` as text and `1:30` as ninety. kubectl reads a number
and a text. What may surprise in both: `y`, `yes`, `on`, `n`, `no`, `off` are booleans, `010` is eight,
`1_000` is a thousand, dates stay text, and a float without fraction is an integer (`4.0` is 4), since JSON
writes it so.
"""

from __future__ import annotations

import base64
import binascii
import math
import re

Scalar = str | int | float | bool | None

PLAIN = "plain"
"""Stands for the tag of a plain scalar that carries no tag of its own."""

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DOT_FLOAT = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?")
_LEGACY_OCTAL = re.compile(r"[-+]?0[0-7]+")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED = re.compile(r"[-+]?0([xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_NUMBER = re.compile(f"{_FLOAT.pattern}|{_BASED.pattern}")
_SHOWN = 40
"""Characters of a number in a hint."""
_LONGEST = 21
"""Characters of an integer of 64 bits with its sign; Python refuses to read very long ones."""
_TAGS = "tag:yaml.org,2002:"


class BadScalar(ValueError):
    """A scalar that kubectl refuses; the message says why."""


def resolve(text: str, tag: str = PLAIN) -> Scalar:
    """The JSON value of a scalar. `tag` is PLAIN or the full YAML tag; quoted text has the tag `str`.

    Raises BadScalar for what JSON cannot hold (infinity, not a number) and for tags that the text does not
    fit.
    """
    if tag == PLAIN:
        return _json(_untagged(text))
    match tag.removeprefix(_TAGS):
        case "str" | "timestamp":
            return text
        case "binary":
            return _binary(text)
        case "int" | "float" | "bool" | "null" as kind:
            return _tagged(text, kind)
    raise BadScalar(f"the tag {tag!r} has no meaning here")


def surprise(text: str, value: Scalar) -> str:
    """What the plain scalar `text`, which means `value`, hardly means to its writer: a hint, or ''."""
    digits = text.replace("_", "")
    if not _NUMBER.fullmatch(digits):
        return ""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
    if isinstance(value, str):
        return f"{shown} is no number to kubectl, which has none so large, but text"
    if isinstance(value, float) and _DECIMAL.fullmatch(digits) and int(digits) != value:
        return f"{shown} is {value!r} to kubectl, whose integers have 64 bits"
    if _LEGACY_OCTAL.fullmatch(digits) and len(digits) <= _LONGEST and int(digits) != value:
        why = "since a 0 in front makes a number octal"
        return f'{shown} is {value} to kubectl, {why}; write {int(digits)}, {value} or "{text}"'
    return ""


def _untagged(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if _DOT_FLOAT.fullmatch(text):
        return float(text)
    if text[0] not in "+-0123456789":
        return text
    digits = text.replace("_", "")
    value = _integer(digits)
    if value is not None:
        return value
    return _finite(digits) if _FLOAT.fullmatch(digits) else text


def _integer(digits: str) -> int | None:
    if _DECIMAL.fullmatch(digits):
        if len(digits) > _LONGEST:
            return None
        value = int(digits)
    elif _BASED.fullmatch(digits):
        value = int(digits, 0)
    elif _LEGACY_OCTAL.fullmatch(digits):
        value = int(digits, 8)
    else:
        return None
    # Beyond 64 bits Go sees a float, or text where the digits are no decimal ones.
    return value if -(2**63) <= value < 2**64 else None


def _finite(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


def _json(value: Scalar) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise BadScalar(f"{value} is not a finite number")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    # JSON has one kind of number: whole ones become integers, and those beyond 64 bits become floats.
    whole = isinstance(value, int) or value.is_integer()
    return int(value) if whole and -(2**63) <= value < 2**63 else float(value)


def _tagged(text: str, kind: str) -> Scalar:
    value = _untagged(text)
    found = {bool: "bool", int: "int", float: "float", type(None): "null"}.get(type(value), "str")
    if found == kind or (found, kind) == ("int", "float"):
        return _json(value)
    raise BadScalar(f"{text!r} is no !!{kind}")


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise BadScalar("!!binary holds no valid base64 of text") from None
