"""The page over HTTP: the document, its state, and an event a second. Read-only; whoever may read it is told below.

On a loopback address everybody on this machine may; requests must name it (`Host`), so that no web page of elsewhere
can read along by a name of its own. On any other address a token is asked for: in the address that is printed, and from
then on in a cookie.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from asgd.page.feed import Feed
from asgd.page.html import document, policy

LISTENERS_MOST = 64
BEHIND_MOST = 30
"""Events that may wait for one listener; who takes no more is hung up on, and comes back where it was."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, eq=False)
class Shown:
    """One job: `snapshot` gives its state as JSON; `feed` None: nothing will change any more."""

    title: str
    snapshot: Callable[[], bytes]
    feed: Feed | None = None
    now: Callable[[], float] = lambda: 0.0
    listeners: set[asyncio.Queue[bytes]] = field(default_factory=set)

    def send(self, event: bytes) -> None:
        """To all who listen; in the loop's thread. An empty event ends them."""
        for queue in list(self.listeners):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self.listeners.discard(queue)
                queue.get_nowait()
                queue.put_nowait(b"")


def application(
    index: Callable[[], str] | None, shown: Callable[[str], Shown | None], token: str
) -> web.Application:
    """`shown("")` stands at /, others at /run/NAME/, listed by `index` at /. `token` empty: nobody is asked for it."""

    def found(request: web.Request) -> Shown:
        job = shown(request.match_info.get("name", ""))
        if job is None:
            raise web.HTTPNotFound(text="there is no such run here\n")
        return job

    async def page(request: web.Request) -> web.Response:
        if index is not None and "name" not in request.match_info:
            return _html(index())
        job = found(request)
        return _html(document(job.title, {"live": "state", "events": "events" if job.feed else ""}))

    async def state(request: web.Request) -> web.Response:
        job = found(request)
        if job.feed:
            job.feed.look(job.now())
        number = (job.feed.id if job.feed else "").encode()
        body = b'{"id":"%s","state":%s}' % (number, job.snapshot())
        response = web.Response(body=body, content_type="application/json")
        response.enable_compression()
        return response

    async def events(request: web.Request) -> web.StreamResponse:
        job = found(request)
        if job.feed is None:
            raise web.HTTPNoContent
        if len(job.listeners) >= LISTENERS_MOST:
            raise web.HTTPServiceUnavailable(text="too many pages are open\n")
        return await _stream(request, job, job.feed)

    app = web.Application(middlewares=[_guard(token)])
    for prefix in ("/", "/run/{name}/"):
        app.router.add_get(prefix, page)
        app.router.add_get(f"{prefix}state", state)
        app.router.add_get(f"{prefix}events", events)
    return app


def _html(text: str) -> web.Response:
    headers = {"Content-Security-Policy": policy(), "Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", headers=headers)


async def _stream(request: web.Request, job: Shown, feed: Feed) -> web.StreamResponse:
    last = request.headers.get("Last-Event-ID") or request.query.get("after", "")
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    missing = feed.since(last)
    if missing is None:
        await response.write(feed.event("reset", b"{}"))
        return response
    queue: asyncio.Queue[bytes] = asyncio.Queue(BEHIND_MOST)
    job.listeners.add(queue)
    try:
        for event in missing:
            await response.write(event)
        while event := await queue.get():
            await response.write(event)
    except ConnectionResetError:
        pass
    finally:
        job.listeners.discard(queue)
    return response


def _guard(token: str) -> Any:
    # NB: a browser has one set of cookies for all ports of a host, and 127.0.0.1 may lead to the pages of many jobs.
    cookie = f"asgd-page-{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not token:
            if _name(request.host) not in _LOOPBACK:
                raise web.HTTPForbidden(
                    text="this page is served to this machine alone, as 127.0.0.1 or localhost\n"
                )
            return _hardened(await handler(request))
        given = request.query.get("token", "")
        if _same(given, token):
            answer = web.HTTPFound(request.path)
            answer.set_cookie(cookie, token, httponly=True, samesite="Strict", path="/")
            raise answer
        if not _same(request.cookies.get(cookie, ""), token):
            raise web.HTTPForbidden(
                text="this page asks for a token: open the address that asgd has printed\n"
            )
        return _hardened(await handler(request))

    return guard


def _hardened(response: web.StreamResponse) -> web.StreamResponse:
    if not response.prepared:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _name(host: str) -> str:
    """Of a Host header, without the port."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def encoded(state: dict[str, Any]) -> bytes:
    """A snapshot as JSON."""
    return msgspec.json.encode(state)
