"""`/metrics`, `/healthz` and `/readyz` on one port.

Healthy is a process that answers; ready is one whose queue still goes round and whose watches are up. A watch
that died without an error is how operators fall silent, hence the resync's heartbeat and not a fixed answer.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

TEXT = "text/plain; version=0.0.4; charset=utf-8"
Why = Callable[[], str]
"""Says why not; empty when all is well."""


async def serve(port: int, metrics: Callable[[], bytes], sick: Why, unready: Why) -> web.AppRunner:
    """Starts serving on all addresses; the caller cleans the runner up. Raises OSError when the port is
    taken.
    """

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": TEXT})

    def probe(why: Why) -> Callable[[web.Request], object]:
        async def answer(_: web.Request) -> web.Response:
            reason = why()
            return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

        return answer

    app = web.Application()
    app.router.add_get("/metrics", scrape)
    app.router.add_get("/healthz", probe(sick))  # type: ignore[arg-type]  # aiohttp's own alias is narrower
    app.router.add_get("/readyz", probe(unready))  # type: ignore[arg-type]  # as above
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    # NB: None listens on IPv4 and IPv6 alike.
    await web.TCPSite(runner, None, port).start()
    return runner


def overdue(heartbeat: float, now: float, interval: float) -> str:
    """Why a queue whose resync last went round at `heartbeat` is not well; empty when it is."""
    age = now - heartbeat
    return f"no resync for {age:.0f} s, expected every {interval:.0f} s" if age > 3 * interval else ""
