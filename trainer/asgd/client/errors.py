"""What talking to a cluster can raise: each is one sentence, as kubectl would say it."""

from __future__ import annotations

from asgd.errors import AsgdError, TryAgain


class ApiError(AsgdError):
    """The API server refused. `code` is its HTTP status, `reason` its word for it, as NotFound or Forbidden."""

    exit_code = 1
    """As kubectl's."""

    def __init__(self, sentence: str, code: int = 0, reason: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.reason = reason


class NotFound(ApiError):
    """There is no such object, or the API server does not know its kind."""


class Forbidden(ApiError):
    """This user may not do it, or has not said who he is."""


class Conflict(ApiError):
    """It exists already, or was changed meanwhile."""


class Invalid(ApiError):
    """The API server says what is wrong with the object: the user's to mend."""

    exit_code = 2


class Unreachable(TryAgain):
    """No API server, pod or container answered."""
