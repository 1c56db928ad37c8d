"""The operator's errors: what the API answered, reduced to what the queue has to know.

Each is retried with backoff; `retry_after` is a lower bound that the server asked for. Errors of a user's job
are no exceptions: they become conditions.
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of all errors that a reconcile may raise on purpose. `reason` is a metric's label."""

    reason = "other"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(OperatorError):
    """404: the object, or its kind, does not exist."""

    reason = "not_found"


class Conflict(OperatorError):
    """409: it exists already, or it is not the one that was seen."""

    reason = "conflict"


class Invalid(OperatorError):
    """400, 413 or 422: the API server says what is wrong with the object, and in which fields where it knows."""

    reason = "invalid"

    def __init__(self, message: str, retry_after: float = 0.0, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message, retry_after)
        self.fields = fields


class Forbidden(OperatorError):
    """401 or 403: a right is missing, a quota is spent, or an admission rule refuses."""

    reason = "forbidden"


class NamespaceEnds(Forbidden):
    """403 because the namespace is being deleted: nothing can be made in it any more."""


class TooManyRequests(OperatorError):
    """429: wait for `retry_after` seconds at least."""

    reason = "too_many_requests"


class Transient(OperatorError):
    """5xx, a broken connection or a timeout: the same request may succeed later."""

    reason = "transient"


class LeaseLost(OperatorError):
    """Another process may lead now; this one must stop at once."""

    reason = "lease_lost"
