"""What an API server's refusal means: pure, from its answer to the error that stands for it."""

from __future__ import annotations

import json

from asgd.client.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from asgd.spec.quoted import UNCHECKED

_ERRORS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    422: Invalid,
}
_NO_KIND = "the server could not find the requested resource"
_NO_CRD = (
    'the server doesn\'t have a resource type "asgdjobs": install the chart (helm install asgd ...) or choose'
    " another cluster with --context"
)
_MOST = 200
"""Letters of an answer that is no Status."""


def refusal(code: int, text: bytes) -> ApiError:
    """The error for an answer with `code` >= 400 and the body `text`, in kubectl's words."""
    message, reason, bare = _read(text)
    kind = _ERRORS.get(code, ApiError)
    if kind is NotFound and message == _NO_KIND:
        return NotFound(f"error: {_NO_CRD}", code, reason)
    if code == 401:
        return Forbidden("error: you must be logged in to the server (Unauthorized)", code, "Unauthorized")
    who = "from server" if bare else f"from server ({reason or code})"
    return kind(f"Error {who}: {message}", code, reason)


def of_command(end: bytes, said: bytes) -> ApiError | None:
    """The error of a command in a container: `end` is the Status that closes it, `said` what it complained of."""
    try:
        status = json.loads(end) if end else {}
    except ValueError:
        status = {"message": end.decode(errors="replace")}
    if status.get("status") == "Success" or not status:
        return None
    causes = (status.get("details") or {}).get("causes") or ()
    code = next((str(each.get("message")) for each in causes if each.get("reason") == "ExitCode"), "")
    if not code:
        return ApiError(
            f"error: {status.get('message')}", int(status.get("code") or 0), str(status.get("reason", ""))
        )
    text = " ".join(said.decode(errors="replace").split())
    return ApiError(f"error: command terminated with exit code {code}" + (f": {text}" if text else ""))


def _read(text: bytes) -> tuple[str, str, bool]:
    """(message, reason, whether it is no Status of Kubernetes)"""
    try:
        answer = json.loads(text)
        return UNCHECKED.sub("", str(answer["message"])), str(answer.get("reason") or ""), False
    except (ValueError, KeyError, TypeError):
        said = " ".join(text.decode(errors="replace").split())[:_MOST]
        return said or "no reason given", "", True
