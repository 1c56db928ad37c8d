"""The page of real runs that were hurt, in a real Chromium: in the light on a desk, and in the dark on a phone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from asgd.page.html import document
from asgd.page.past import state_of
from tests.chromium import Tab, binary, browser
from tests.local import scenes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        binary() is None, reason="no Chromium here: apt-get install -y --no-install-recommends chromium"
    ),
]
LINE = "document.getElementById('line').textContent"
FINDINGS = "document.getElementById('findings').textContent"
EVENTS = "document.getElementById('events').textContent"
DOT = "document.getElementById('dot').className"
LIVE = "state && !!state.now && document.getElementById('link').textContent === 'live'"
SIZES = ((1280, False), (390, True))
"""(pixels, dark)"""


def seen(url: str, look: Callable[[Tab], Awaitable[None]]) -> None:
    """`look` at a page on a desk in the light, and on a phone in the dark; nothing is cut off, nothing goes wrong."""

    async def everywhere() -> None:
        async with browser() as tab:
            for width, dark in SIZES:
                await tab.open(url, width=width, dark=dark)
                await look(tab)
                assert await tab.beyond() == []
                assert tab.problems == []

    asyncio.run(everywhere())


def test_a_run_that_lost_a_worker_and_a_server_and_refuses_pushes_is_degraded(tmp_path: Path) -> None:
    async def look(tab: Tab) -> None:
        await tab.until(LIVE)
        await tab.until(f"{FINDINGS}.includes('of all pushes are refused, most as stale')")
        assert "exchange.staleness.max" in await tab.run(FINDINGS)
        assert (await tab.run(DOT)).startswith("dot ")
        assert await tab.run(DOT) != "dot running"
        events = await tab.run(EVENTS)
        assert "worker 1 was lost" in events
        assert "shard 1" in events
        flags = await tab.run("state.moments.map((moment) => moment.kind)")
        assert {"lost", "term", "joined"} <= set(flags), "flags of the lanes"
        assert await tab.run("state.about.bound") == 2

    with scenes.degraded(tmp_path) as run:
        seen(run.page(), look)
        assert run.interrupt() == 130, run.words()


def test_a_worker_that_hangs_is_named_with_its_log(tmp_path: Path) -> None:
    async def look(tab: Tab) -> None:
        await tab.until(LIVE)
        await tab.until(f"{FINDINGS}.includes('Worker 1 makes no progress')")
        assert await tab.run(DOT) == "dot bad"
        commands = await tab.run(
            "[...document.querySelectorAll('#findings code')].map((code) => code.textContent)"
        )
        assert set(commands) == {f"tail -n 50 {run.output}/logs/worker-1.log"}
        row = "[...document.querySelectorAll('#workers tbody tr')][1].textContent"
        assert "stalled" in await tab.run(row)

    with scenes.hung(tmp_path) as run:
        seen(run.page(), look)
        assert run.interrupt() == 130, run.words()


def test_rounds_shorter_than_a_second_name_who_is_waited_for(tmp_path: Path) -> None:
    async def look(tab: Tab) -> None:
        await tab.until(LIVE)
        await tab.until(
            "document.getElementById('waits').textContent"
            ".includes('worker 2 holds it open: 3 workers wait for it (0, 1, 3)')"
        )
        await tab.until(f"{FINDINGS}.includes('3 wait for worker 2')")

    with scenes.rounds(tmp_path) as run:
        seen(run.page(), look)
        assert run.interrupt() == 130, run.words()


def test_a_run_that_diverged_says_so_with_what_to_do(tmp_path: Path) -> None:
    async def look(tab: Tab) -> None:
        assert (await tab.run(LINE)).startswith("It diverged after ")
        assert await tab.run(DOT) == "dot bad"
        said = await tab.run(FINDINGS)
        assert "A smaller optimizer.learningRate may help" in said
        assert "onDivergence=Rollback" in said
        assert await tab.run("charts.log"), "what went beyond all bounds must not hide the rest"
        assert "diverged" in await tab.run(EVENTS)

    with scenes.diverged(tmp_path) as run:
        page = tmp_path / "page.html"
        page.write_text(document("digits", {"state": state_of(run.output)}), encoding="utf-8")
        seen(page.as_uri(), look)
