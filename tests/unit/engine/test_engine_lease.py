"""The Lease in virtual time: its holder stops before another may take over, whatever the API server does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from asgd_operator.errors import Conflict, LeaseLost, Transient
from asgd_operator.lease import Lease
from tests.unit.engine.virtual import run


@dataclass
class Leases:
    """The API server's part: one Lease with a resource version. `mode`: well | hangs | slow | refuses | swallows, which
    takes the write and never answers.
    """

    mode: str = "well"
    lease: dict[str, Any] | None = None
    version: int = 0
    writes: list[tuple[float, str]] = field(default_factory=list)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        await self._behave()
        return self.lease

    async def create(self, manifest: dict[str, Any]) -> None:
        await self._behave()
        self._write(manifest)

    async def replace(self, manifest: dict[str, Any]) -> None:
        if self.mode == "swallows":
            self._write(manifest)
        await self._behave()
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("another was first")
        self._write(manifest)

    async def _behave(self) -> None:
        if self.mode in ("hangs", "swallows"):
            await asyncio.get_running_loop().create_future()
        if self.mode == "slow":
            await asyncio.sleep(30)
        if self.mode == "refuses":
            raise Transient("no server")

    def _write(self, manifest: dict[str, Any]) -> None:
        self.version += 1
        holder = manifest["spec"]["holderIdentity"]
        self.writes.append((asyncio.get_running_loop().time(), holder))
        self.lease = {
            **manifest,
            "metadata": {**manifest["metadata"], "resourceVersion": str(self.version)},
        }


def lease(server: Leases, identity: str) -> Lease:
    return Lease(server, "n", "l", identity, clock=asyncio.get_running_loop().time)  # type: ignore[arg-type]  # its part


@dataclass
class Work:
    """Runs until it is cancelled; `span` is when it ran."""

    seconds: float = 1e9
    begun: float = -1.0
    over: float = float("inf")

    async def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun = loop.time()
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.over = loop.time()


@pytest.mark.parametrize("mode", ["hangs", "slow", "refuses", "swallows"])
@pytest.mark.parametrize("after", [5.0, 6.0, 6.5, 7.9])
def test_the_holder_stops_before_another_can_take_over(mode: str, after: float) -> None:
    async def main() -> tuple[Work, Work]:
        for_first, for_second = Leases(), Leases()
        first, second = Work(), Work()
        holder = asyncio.create_task(lease(for_first, "first").lead(first))
        await asyncio.sleep(1)
        for_second.lease, for_second.version = for_first.lease, for_first.version
        await asyncio.sleep(after)
        for_first.mode = mode
        broke = asyncio.get_running_loop().time()
        for_second.lease, for_second.version = for_first.lease, for_first.version
        other = asyncio.create_task(lease(for_second, "second").lead(second))
        with pytest.raises(LeaseLost):
            await holder
        assert first.over - broke <= 10
        await asyncio.sleep(30)
        other.cancel()
        return first, second

    first, second = run(main())
    assert first.over < second.begun


def test_one_slow_answer_is_no_loss() -> None:
    async def main() -> Work:
        server, work = Leases(), Work()
        holder = asyncio.create_task(lease(server, "first").lead(work))
        for _ in range(20):
            await asyncio.sleep(5)
            server.mode = "hangs"
            await asyncio.sleep(3)
            server.mode = "well"
        assert not holder.done()
        holder.cancel()
        return work

    assert run(main()).begun == 0


def test_who_waits_gets_the_lease_of_a_holder_that_fell_silent_and_not_before_it_is_over() -> None:
    async def main() -> float:
        server, work = Leases(), Work()
        dead = lease(server, "dead")
        holder = asyncio.create_task(dead.lead(Work()))
        await asyncio.sleep(1)
        holder.cancel()
        begun = asyncio.get_running_loop().time()
        asyncio.get_running_loop().create_task(lease(server, "next").lead(work))
        await asyncio.sleep(60)
        return work.begun - begun

    assert 15 < run(main()) < 20


def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    async def main() -> float:
        server, work = Leases(), Work()
        await lease(server, "first").lead(Work(seconds=7))
        begun = asyncio.get_running_loop().time()
        task = asyncio.create_task(lease(server, "next").lead(work))
        await asyncio.sleep(5)
        task.cancel()
        return work.begun - begun

    assert run(main()) == 0


@pytest.mark.parametrize("mode", ["hangs", "refuses"])
def test_the_end_does_not_wait_for_a_server_that_does_not_answer(mode: str) -> None:
    async def main() -> float:
        server, work = Leases(), Work(seconds=5)
        task = asyncio.create_task(lease(server, "first").lead(work))
        await asyncio.sleep(4.5)
        server.mode = mode
        await task
        return asyncio.get_running_loop().time() - work.over

    assert run(main()) <= 4


def test_a_holder_that_was_frozen_beyond_its_lease_knows_it_before_it_is_told() -> None:
    async def main() -> list[bool]:
        now = 0.0
        server = Leases()
        mine = Lease(server, "n", "l", "first", clock=lambda: now)  # type: ignore[arg-type]  # its part
        assert not mine.held()
        task = asyncio.create_task(mine.lead(Work()))
        await asyncio.sleep(0.1)
        found = [mine.held()]
        now = 9.9
        found.append(mine.held())
        now = 60.0
        found.append(mine.held())
        task.cancel()
        return found

    assert run(main()) == [True, True, False]


def test_times_that_let_the_holder_outlive_its_lease_are_refused() -> None:
    with pytest.raises(ValueError, match="before the Lease is"):
        Lease(Leases(), "n", "l", "x", seconds=15, give_up=10, attempt=30)  # type: ignore[arg-type]  # its part
