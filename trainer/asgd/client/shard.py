"""Asks shard 0 of a job for its status, from outside of the cluster.

Two ways lead there: the API server's proxy, which is cheap but comes from where a NetworkPolicy may let nobody in, and
a port-forward, which ends inside the pod. Which of them this user may go, and which of them works, is found once.
"""

from __future__ import annotations

import http.client

import msgspec

from asgd.client.access import Access, Document
from asgd.client.documents import metrics_port, shard_pod
from asgd.client.errors import ApiError, Forbidden, NotFound, Unreachable
from asgd.spec.status import Status

_SECONDS = 5.0
_LONGEST = 16 << 20
"""Bytes of an answer; what is longer is no status."""


class Shard:
    """Shard 0 of `job`. `why` says what hindered the last question."""

    def __init__(self, access: Access, job: Document) -> None:
        self._access = access
        self._pod, self._port = shard_pod(job), metrics_port(job)
        self._forwarded = False
        self.why = ""

    def ask(self) -> Status | None:
        """Its status; None where there is no shard 0 or it does not answer."""
        try:
            told = msgspec.json.decode(self._answer(), type=Status)
        except NotFound:
            self.why = f"there is no pod {self._pod}"
            return None
        except (ApiError, Unreachable, OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            self.why = str(error)
            return None
        self.why = ""
        return told

    def _answer(self) -> bytes:
        if not self._forwarded:
            try:
                return self._access.proxied(self._pod, self._port, "/status", seconds=_SECONDS)
            except NotFound:
                raise
            except (ApiError, Unreachable) as error:
                if isinstance(error, ApiError) and not isinstance(error, Forbidden) and error.code < 500:
                    raise
        answer = self._through_forward()
        self._forwarded = True
        return answer

    def _through_forward(self) -> bytes:
        socket = self._access.forward(self._pod, self._port)
        try:
            socket.settimeout(_SECONDS)
            socket.sendall(b"GET /status HTTP/1.0\r\nAccept-Encoding: identity\r\n\r\n")
            answer = http.client.HTTPResponse(socket)
            answer.begin()
            return answer.read(_LONGEST)
        finally:
            socket.close()
