"""Requests to an API server: JSON there and back, text as it comes, and the two kinds that become a socket.

Nothing is retried but a read that broke; each error is one of `errors.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from asgd.client import answers
from asgd.client.connecting import Place
from asgd.client.errors import ApiError, Unreachable

Query = Mapping[str, str | int] | Sequence[tuple[str, str | int]]
_LONG = 1 << 16
"""Bytes that are asked for at once."""
_OUT, _ERR, _END = 1, 2, 3
"""Channels of a command in a container: what it prints, what it complains of, how it ended."""
_COMPLAINT = 4096


class Transport:
    """Speaks with the API server of `place`; `timeout_seconds` bound each answer but those that are followed."""

    def __init__(self, place: Place, timeout_seconds: float = 30.0) -> None:
        from kubernetes.client import rest

        self._configuration, self._timeout = place.configuration, timeout_seconds
        self._pool = rest.RESTClientObject(place.configuration).pool_manager
        self._host = str(place.configuration.host).rstrip("/")

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        content: str = "application/json",
    ) -> Any:
        """The answer's JSON. Raises ApiError and Unreachable."""
        data = self.fetch(method, path, query=query, body=body, content=content)
        try:
            return json.loads(data)
        except ValueError as error:
            raise ApiError(f"Error from server: {path} answered with what is no JSON") from error

    def fetch(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        content: str = "application/json",
        seconds: float | None = None,
    ) -> bytes:
        """The answer as it is. Raises ApiError and Unreachable."""
        answer = self._open(method, path, query, body, content, seconds or self._timeout)
        try:
            data: bytes = answer.read()
        except self._broken() as error:
            raise self._unreachable(error) from error
        finally:
            answer.release_conn()
        return data

    def lines(self, path: str, *, query: Query = (), follow: bool = False) -> Iterator[bytes]:
        """The answer's lines without their ends, as they come; for as long as it takes with `follow`."""
        answer = self._open("GET", path, query, None, "", None if follow else self._timeout)
        rest = b""
        try:
            while part := answer.read1(_LONG):
                *whole, rest = (rest + part).split(b"\n")
                yield from whole
        except self._broken() as error:
            if not follow:
                raise self._unreachable(error) from error
        finally:
            answer.close()
        if rest:
            yield rest

    def execute(self, path: str, container: str, command: Sequence[str]) -> Iterator[bytes]:
        """Runs `command` in a container and gives its output in pieces. Raises ApiError with what it complained of."""
        from kubernetes.stream.ws_client import create_websocket

        words = [("command", word) for word in command]
        query = [("container", container), *words, ("stdout", "true"), ("stderr", "true")]
        socket = self._upgraded(lambda url, headers: create_websocket(self._configuration, url, headers))(
            path, query
        )
        said = end = b""
        try:
            for channel, data in self._frames(socket):
                if channel == _OUT:
                    yield data
                elif channel == _ERR:
                    said = (said + data)[-_COMPLAINT:]
                elif channel == _END:
                    end += data
        finally:
            socket.close()
        if trouble := answers.of_command(end, said):
            raise trouble

    def _frames(self, socket: Any) -> Iterator[tuple[int, bytes]]:
        """(channel, data) until the other side closes."""
        import websocket

        socket.settimeout(self._timeout)
        while True:
            try:
                code, frame = socket.recv_data_frame(True)
            except (websocket.WebSocketException, OSError) as error:
                raise self._unreachable(error) from error
            if code == websocket.ABNF.OPCODE_CLOSE:
                return
            if code in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data:
                yield frame.data[0], bytes(frame.data[1:])

    def forward(self, path: str, port: int) -> Any:
        """A socket to `port` of a pod, as `kubectl port-forward` makes one for each connection."""
        from kubernetes.stream.ws_client import PortForward, create_websocket

        make = self._upgraded(
            lambda url, headers: PortForward(create_websocket(self._configuration, url, headers), [port])
        )
        return make(path, [("ports", port)]).socket(port)

    # -- within ------------------------------------------------------------------------------------

    def _open(
        self, method: str, path: str, query: Query, body: Any, content: str, seconds: float | None
    ) -> Any:
        import urllib3

        headers = {"Accept": "application/json, */*", **self._who()}
        data = None
        if body is not None:
            headers["Content-Type"] = content
            data = json.dumps(body).encode()
        asked = urlencode(list(query.items()) if isinstance(query, Mapping) else list(query))
        try:
            answer = self._pool.request(
                method,
                f"{self._host}{path}" + (f"?{asked}" if asked else ""),
                body=data,
                headers=headers,
                preload_content=False,
                timeout=urllib3.Timeout(connect=min(10.0, seconds or 10.0), read=seconds),
                retries=urllib3.Retry(1 if method == "GET" else 0, redirect=False, status=False),
            )
            if answer.status >= 400:
                text = answer.read()
                answer.release_conn()
                raise answers.refusal(answer.status, text)
        except self._broken() as error:
            raise self._unreachable(error) from error
        return answer

    def _upgraded(self, make: Any) -> Any:
        """Calls `make(url, headers)` for a path and its query; errors become ours."""
        import websocket

        def made(path: str, query: Sequence[tuple[str, str | int]]) -> Any:
            url = f"{self._host}{path}?{urlencode(query)}".replace("http", "ws", 1)
            try:
                return make(url, self._who())
            except websocket.WebSocketBadStatusException as error:
                raise answers.refusal(error.status_code, error.resp_body or b"") from error
            except (websocket.WebSocketException, OSError) as error:
                raise self._unreachable(error) from error

        return made

    def _who(self) -> dict[str, str]:
        """Headers that say who asks; a token that is over is renewed."""
        settings = self._configuration.auth_settings().values()
        return {each["key"]: each["value"] for each in settings if each["in"] == "header" and each["value"]}

    @staticmethod
    def _broken() -> tuple[type[Exception], ...]:
        from urllib3.exceptions import HTTPError

        return HTTPError, OSError

    def _unreachable(self, error: BaseException) -> Unreachable:
        cause = getattr(error, "reason", None) or error
        why = " ".join(str(cause).split()).rpartition(">: ")[2] or type(error).__name__
        return Unreachable(f"Unable to connect to the server {self._host}: {why}")
