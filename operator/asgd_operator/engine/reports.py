"""Asks shard 0 how the training goes: one GET of its `/status`, from the pod's own address.

Pulled rather than pushed, so that no pod of a user needs rights or a token. One answer that is missing
changes nothing: the last report stands for a while, or every lost packet would be a transition.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import msgspec

from asgd_operator.constants import Role
from asgd_operator.plan.model import Observed
from asgd_operator.plan.report import Report

log = logging.getLogger(__name__)


@dataclass
class Reports:
    """`stale_seconds`: how long a report stands for those that are missing after it."""

    session: aiohttp.ClientSession
    timeout_seconds: float = 3.0
    stale_seconds: float = 60.0
    clock: Callable[[], float] = lambda: asyncio.get_running_loop().time()
    _last: dict[str, tuple[float, Report]] = field(default_factory=dict)

    async def of(self, o: Observed) -> Report | None:
        """The newest report of the job; None where there is none, or it is too old."""
        url = _url(o)
        fresh = await self._ask(url) if url else None
        if fresh is not None:
            self._last[o.uid] = (self.clock(), fresh)
            return fresh
        at, report = self._last.get(o.uid, (0.0, None))
        return report if report is not None and self.clock() - at <= self.stale_seconds else None

    def forget(self, uid: str) -> None:
        self._last.pop(uid, None)

    async def _ask(self, url: str) -> Report | None:
        try:
            timeout = aiohttp.ClientTimeout(total=self.timeout_seconds)
            async with self.session.get(url, timeout=timeout) as answer:
                answer.raise_for_status()
                return msgspec.json.decode(await answer.read(), type=Report)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
            log.info("no report from %s: %s", url, error or type(error).__name__)
            return None


def _url(o: Observed) -> str | None:
    pods = (pod for pod in o.pods_of(Role.SERVER) if pod.index == 0 and pod.address and not pod.over)
    pod = next(pods, None)
    if pod is None or o.spec is None:
        return None
    host = f"[{pod.address}]" if ":" in pod.address else pod.address
    return f"http://{host}:{o.spec.metrics.port}/status"
