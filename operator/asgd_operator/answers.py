"""What a refusal by the API server means: the error that stands for it, and the fields that it complains about."""

from __future__ import annotations

import json
import re
from typing import Any

from asgd.spec.quoted import UNCHECKED
from asgd_operator.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NamespaceEnds,
    NotFound,
    OperatorError,
    TooManyRequests,
    Transient,
)

_ERRORS: dict[int, type[OperatorError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
}
_UNTYPED = "failed to create typed patch object"
"""NB: a field of the wrong type in a server-side apply, or one that the CRD does not know, is answered with 500, as if
it were the server's fault."""
_TOO_LARGE = "request is too large"
"""In etcd's words, which come with 500 too."""


def refusal(code: int, text: bytes, retry_after: str | None, request: str) -> OperatorError:
    """The error for an answer with `code` >= 400 to `request`, with the body `text`."""
    message, causes = _read(text)
    kind = _ERRORS.get(code, Transient)
    if _UNTYPED in message or _TOO_LARGE in message:
        kind = Invalid
    if kind is Forbidden and any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        kind = NamespaceEnds
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
    if kind is Invalid:
        return Invalid(message, seconds, fields=_fields(message, causes))
    return kind(message if issubclass(kind, Forbidden) else f"{request}: {code} {message}", seconds)


def _read(text: bytes) -> tuple[str, list[Any]]:
    try:
        answer = json.loads(text)
        said = UNCHECKED.sub("", str(answer["message"]))
        return said, list((answer.get("details") or {}).get("causes") or ())
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace")[:200], []


def _fields(message: str, causes: list[Any]) -> tuple[str, ...]:
    """As the API server spells them: `status.conditions[1].message`. Not `<nil>`, its word for none."""
    named = [str(cause.get("field", "")) for cause in causes]
    if _UNTYPED in message:
        named += re.findall(r": \.([^:\s]+): ", message)
    return tuple(field for field in named if field and not field.startswith("<"))
