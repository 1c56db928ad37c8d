"""Asks shard 0 of each running job how the training goes: one GET of its `/status`, from the pod's own address.

Pulled rather than pushed, so that no pod of a user needs rights or a token. A pool of its own asks, so that no worker
of the queue ever waits for an answer: plans use the last one, and a new one has the job looked at. One answer that is
missing changes nothing, or every lost packet would be a transition. What comes back is a stranger's: it is bounded in
size and time, redirects are not followed, and what cannot be read counts as missing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import msgspec

from asgd.spec.status import Status
from asgd_operator.constants import Role
from asgd_operator.engine.observe import key_of
from asgd_operator.engine.polls import Known, Polls, Target
from asgd_operator.engine.surprises import Surprises
from asgd_operator.plan.model import Observed, Pod
from asgd_operator.plan.success import all_ended

log = logging.getLogger(__name__)


@dataclass
class Reports:
    """`of` from a pass over a job, `run` in one task. `changed` hears the key of a job with a new answer."""

    session: aiohttp.ClientSession
    changed: Callable[[str], None] = lambda key: None
    timeout_seconds: float = 3.0
    longest: int = 16 * 2**20
    """Bytes of an answer; what is longer counts as missing."""
    polls: Polls = field(default_factory=lambda: Polls(chance=random.random))

    def __post_init__(self) -> None:
        self._news = asyncio.Event()
        self._surprises = Surprises(log)

    def of(self, o: Observed) -> Known:
        """What is known of the job; it is asked from now on, for as long as it has servers that may answer."""
        now = asyncio.get_running_loop().time()
        target = _target(o)
        if target is not None:
            self.polls.want(o.uid, target, now)
            self._news.set()
        return self.polls.known(o.uid, now)

    def forget(self, uid: str) -> None:
        """The job is not asked any more."""
        self.polls.forget(uid)

    async def run(self) -> None:
        """Asks until it is cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                for uid, target in self.polls.begin(loop.time()):
                    tasks.create_task(self._poll(uid, target))
                try:
                    async with asyncio.timeout(self.polls.next_in(loop.time())):
                        await self._news.wait()
                except TimeoutError:
                    continue

    async def _poll(self, uid: str, target: Target) -> None:
        report = None
        try:
            async with asyncio.timeout(self.timeout_seconds):
                report = await self._ask(target.url)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError, ValueError) as error:
            log.info("no report from %s: %s", target.url, error or type(error).__name__)
        except Exception as error:
            self._surprises.log(target.key, error, f"bug: no report from {target.url}")
        key = self.polls.answered(uid, target, report, asyncio.get_running_loop().time())
        self._news.set()
        if key is not None:
            self.changed(key)

    async def _ask(self, url: str) -> Status:
        """Raises ValueError for what is no status."""
        plain = {"Accept-Encoding": "identity"}
        async with self.session.get(url, headers=plain, allow_redirects=False) as answer:
            answer.raise_for_status()
            body = bytearray()
            async for part in answer.content.iter_chunked(1 << 16):
                body += part
                if len(body) > self.longest:
                    raise ValueError(f"an answer of more than {self.longest} bytes")
        return msgspec.json.decode(body, type=Status)


def _target(o: Observed) -> Target | None:
    pods = (pod for pod in o.pods_of(Role.SERVER) if pod.index == 0 and pod.address and not pod.over)
    pod = next(pods, None)
    if pod is None or o.spec is None:
        return None
    host = f"[{pod.address}]" if ":" in pod.address else pod.address
    url = f"http://{host}:{o.spec.metrics.port}/status"
    # NB: when all have ended it has its last figures: what a suspended job goes on from, and what a complete one tells.
    return Target(key_of(o.namespace, o.name), url, (*_sign(pod), o.workers_stopped, all_ended(o)))


def _sign(pod: Pod) -> tuple[str, int, bool]:
    return pod.uid, pod.restarts, pod.ready
