"""Leader election by a Lease, for installations that run more than one operator.

Own code, because the official client's lock cannot create a Lease in its current version. The rule is client-go's: a
holder that does not renew within the Lease's duration, as measured on the observer's own clock, has lost it; two
writers are told apart by the resource version. Whoever loses it stops at once and exits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgd_operator.errors import Conflict, LeaseLost, OperatorError
from asgd_operator.kube import Kube, Manifest

log = logging.getLogger(__name__)
Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass
class Lease:
    """`seconds`: how long it lasts without being renewed. The holder stops `give_up` seconds after it last asked for it
    with success, which is before another process may take it: that one counts from when it saw the answer.
    """

    kube: Kube
    namespace: str
    name: str
    identity: str
    seconds: float = 15.0
    give_up: float = 10.0
    retry: float = 2.0
    attempt: float = 4.0
    """Seconds after which one try has failed, whatever its requests wait for."""
    clock: Callable[[], float] = time.monotonic
    _seen: tuple[str, float] = ("", 0.0)
    """Resource version of the Lease as last seen, and when it was first seen so."""
    _asked: float = float("-inf")
    """When the newest try that succeeded was begun."""

    def __post_init__(self) -> None:
        if self.give_up + self.attempt >= self.seconds:
            raise ValueError("give_up and one attempt must be over before the Lease is")

    def held(self) -> bool:
        """Whether this process may still act as the holder."""
        return self.clock() - self._asked < self.give_up

    async def lead(self, work: Work) -> None:
        """Waits for the Lease, then runs `work` for as long as it is held. Raises LeaseLost when it no longer is."""
        if not await self._take(self.attempt):
            log.info("waiting for the Lease %s/%s", self.namespace, self.name)
            while not await self._take(self.attempt):
                await asyncio.sleep(self.retry)
        log.info("leading as %s", self.identity)
        working, renewing = asyncio.create_task(work()), asyncio.create_task(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            await (working if working.done() else renewing)
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
        await self._release()

    async def _renew(self) -> None:
        while (left := self._asked + self.give_up - self.clock()) > 0:
            await asyncio.sleep(min(self.retry, left))
            left = self._asked + self.give_up - self.clock()
            if left > 0:
                await self._take(min(self.attempt, left))
        raise LeaseLost(f"the Lease {self.namespace}/{self.name} is lost")

    async def _take(self, seconds: float) -> bool:
        """Takes or renews the Lease within `seconds`; whether it is ours now."""
        begun = self.clock()
        try:
            async with asyncio.timeout(seconds):
                mine = await self._try()
        except TimeoutError:
            log.warning("the Lease could not be renewed: no answer within %.1f s", seconds)
            return False
        if mine:
            self._asked = begun
        return mine

    async def _try(self) -> bool:
        try:
            lease = await self.kube.get("Lease", self.namespace, self.name)
            if lease is None:
                await self.kube.create(self._manifest(self.identity, {}))
                return True
            if not self._free(lease):
                return False
            await self.kube.replace(self._manifest(self.identity, lease))
        except Conflict:
            return False
        except OperatorError as error:
            log.warning("the Lease could not be renewed: %s", error)
            return False
        return True

    def _free(self, lease: Manifest) -> bool:
        version, holder = (
            lease["metadata"]["resourceVersion"],
            lease.get("spec", {}).get("holderIdentity", ""),
        )
        if version != self._seen[0]:
            self._seen = (version, self.clock())
        return holder in ("", self.identity) or self.clock() - self._seen[1] > self.seconds

    async def _release(self) -> None:
        """Lets the next one start without waiting; it need not, so a server that does not answer is left alone."""
        try:
            async with asyncio.timeout(self.attempt):
                lease = await self.kube.get("Lease", self.namespace, self.name)
                if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                    await self.kube.replace(self._manifest("", lease))
        except (OperatorError, TimeoutError) as error:
            log.warning("the Lease was not given back: %s", error or "no answer")

    def _manifest(self, holder: str, before: Manifest) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = before.get("spec", {})
        mine = old.get("holderIdentity") == holder
        version = before.get("metadata", {}).get("resourceVersion")
        metadata = {"name": self.name, "namespace": self.namespace} | (
            {"resourceVersion": version} if version else {}
        )
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(self.seconds),
            "renewTime": now,
            "acquireTime": old.get("acquireTime", now) if mine else now,
            "leaseTransitions": old.get("leaseTransitions", 0) + (0 if mine else 1),
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
