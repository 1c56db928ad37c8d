"""The page as people see it: in a real Chromium, of a run that goes on, of one that is over, and as a file."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from asgd.page import DEFAULT, address, record
from asgd.page.html import document
from asgd.page.listing import Listing
from asgd.page.serving import Door, Serving
from tests.chromium import Tab, binary, browser
from tests.local.run import Run
from tests.unit.page.jobs import Pretended
from tests.warm import ASGD

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        binary() is None, reason="no Chromium here: apt-get install -y --no-install-recommends chromium"
    ),
]
SEEN = "document.querySelector('{}').textContent"
COLOURS = """(() => {
  const c = document.getElementById('{}'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, seen = {};
  for (let at = 0; at < d.length; at += 4) if (d[at + 3] > 250) {
    const key = [d[at], d[at + 1], d[at + 2]].join();
    seen[key] = (seen[key] || 0) + 1;
  }
  return Object.values(seen).filter((count) => count > 30).length;
})()"""
PRESSED = "document.querySelector('#scale [aria-pressed=true]').textContent"
HAPPENINGS = {1: (30.0, "dies"), 3: (60.0, "hangs"), 5: (20.0, "wanders")}


def colours(name: str) -> str:
    return COLOURS.replace("{}'", name + "'")


def written(folder: Path, name: str, job: Pretended, until: float | None, *, over: bool) -> str:
    path = folder / f"{name}.html"
    path.write_text(document(name, {"state": job.model(until, over).snapshot()}), encoding="utf-8")
    return path.as_uri()


async def looked_at(tab: Tab, url: str, **how: Any) -> None:
    await tab.open(url, **how)
    assert tab.problems == []
    assert await tab.beyond() == []


def test_states_of_a_job_in_light_dark_and_on_a_phone(tmp_path: Path) -> None:
    running = written(tmp_path, "running", Pretended(seconds=90), 60.0, over=False)
    troubled = written(
        tmp_path, "troubled", Pretended(seconds=120, happenings=HAPPENINGS, bound=12), 80.0, over=False
    )
    finished = written(tmp_path, "finished", Pretended(seconds=60), None, over=True)

    async def look() -> None:
        async with browser() as tab:
            await looked_at(tab, running)
            assert (await tab.run(SEEN.format("#line"))).startswith("It is learning: the loss falls")
            assert await tab.run("document.querySelectorAll('#findings li').length") == 0
            light = await tab.run("getComputedStyle(document.body).backgroundColor")
            assert await tab.run(colours("lanes")) >= 4
            assert await tab.run(colours("heat")) >= 2
            await looked_at(tab, running, dark=True)
            assert await tab.run("getComputedStyle(document.body).backgroundColor") != light
            await looked_at(tab, troubled, width=390)
            assert "Worker 3 makes no progress" in await tab.run(SEEN.format("#findings"))
            assert "worker-3.log" in await tab.run(SEEN.format("#findings code"))
            await looked_at(tab, finished)
            assert (await tab.run(SEEN.format("#line"))).startswith("It is done after ")
            await tab.run("document.getElementById('lanes-plot').focus()")
            await tab.key("ArrowDown")
            for _ in range(5):
                await tab.key("ArrowLeft")
            assert "worker 1: compute" in await tab.run(SEEN.format("#lanes-said"))
            await tab.run(
                "[...document.querySelectorAll('#against button')].find(b => b.textContent === 'updates').click()"
            )
            assert await tab.run("charts.x") == "updates"
            assert tab.problems == []

    asyncio.run(look())


def test_a_job_that_diverged_and_one_that_is_about_to(tmp_path: Path) -> None:
    over = written(tmp_path, "diverged", Pretended(seconds=75, diverges=55.0), None, over=True)
    going = written(tmp_path, "diverging", Pretended(seconds=120, diverges=55.0), 69.0, over=False)

    async def look() -> None:
        async with browser() as tab:
            await looked_at(tab, over, dark=True)
            assert (await tab.run(SEEN.format("#line"))).startswith("It diverged after ")
            said = await tab.run(SEEN.format("#findings"))
            assert "80 pushes in a row were not finite" in said and "onDivergence=Rollback" in said
            assert await tab.run("charts.log"), "what went beyond all bounds must not hide the rest"
            assert await tab.run(PRESSED) == "log"
            assert "the job is finished: diverged" in await tab.run(SEEN.format("#events"))
            await tab.run("document.querySelector('#scale button').click()")
            assert await tab.run(PRESSED) == "linear"
            await looked_at(tab, going)
            assert (await tab.run(SEEN.format("#line"))).startswith("The loss is not finite")
            assert await tab.run("getComputedStyle(document.getElementById('dot')).backgroundColor")
            assert tab.problems == []

    asyncio.run(look())


def test_rounds_name_who_is_waited_for_and_by_whom(tmp_path: Path) -> None:
    rounds = written(tmp_path, "rounds", Pretended(seconds=90, rounds=True, bound=3), 60.0, over=False)

    async def look() -> None:
        async with browser() as tab:
            for dark in (False, True):
                await looked_at(tab, rounds, dark=dark)
                said = await tab.run(SEEN.format("#waits"))
                assert "worker 2 holds it open: 5 workers wait for it (0, 1, 3, 4, 5)" in said
                assert await tab.run(colours("lanes")) >= 5
            waits = "[...document.querySelectorAll('#workers tbody tr')].map(r => r.children[8].textContent).join()"
            assert await tab.run(waits) == "others,others,–,others,others,others"

    asyncio.run(look())


def test_the_list_of_runs_leads_to_each_on_a_desk_and_on_a_phone(tmp_path: Path) -> None:
    for name, how in {"first": {}, "a-long-name-of-a-sweep-lr-0.03-seed-4": {"diverges": 55.0}}.items():
        (tmp_path / name).mkdir()
        record.write(Pretended(seconds=75, **how).model(None, over=True), tmp_path / name)
    index = tmp_path / "index.html"
    index.write_text(Listing(tmp_path).page(), encoding="utf-8")

    async def look() -> None:
        async with browser() as tab:
            shades = set()
            for width, dark in ((1280, False), (390, True)):
                await looked_at(tab, index.as_uri(), width=width, dark=dark)
                shades.add(await tab.run("getComputedStyle(document.body).backgroundColor"))
                links = await tab.run("[...document.links].map((link) => link.getAttribute('href')).sort()")
                assert links == ["run/a-long-name-of-a-sweep-lr-0.03-seed-4/", "run/first/"]
                states = (
                    "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[3].textContent).sort()"
                )
                assert await tab.run(states) == ["diverged", "done (epochs)"]
            assert len(shades) == 2

    asyncio.run(look())


def test_500_workers_cost_server_and_page_a_part_of_each_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Pretended(500, 4, seconds=200, happenings={17: (3.0, "dies"), 203: (2.0, "hangs")})
    statuses = [job.status(float(t)) for t in range(32)]
    serving = Serving(job.about, tmp_path, Door(DEFAULT), lambda line: None)
    over = threading.Event()

    def tell() -> None:
        for status in statuses:
            serving.tell(status)
            if over.wait(1.0):
                return

    serving.start()
    teller = threading.Thread(target=tell)
    teller.start()
    clock = time.pthread_getcpuclockid(serving._thread.ident or 0)

    async def look() -> tuple[float, float]:
        async with browser() as tab:
            await looked_at(tab, (tmp_path / address.FILE).read_text().strip())
            await tab.until("state && state.rowsOfLanes.size === 500")
            page, server = await tab.seconds_of_work(), time.clock_gettime(clock)
            drawn = int(await tab.run("document.body.dataset.drawn"))
            await tab.until(f"Number(document.body.dataset.drawn) >= {drawn + 8}")
            await tab.until(f"{SEEN.format('#findings')}.includes('Worker 203 makes no progress')")
            first = "document.querySelector('#workers tbody tr th').textContent"
            assert await tab.run(first) in ("17", "203"), "who is in trouble stands first"
            assert tab.problems == []
            spent = await tab.seconds_of_work() - page, time.clock_gettime(clock) - server
            return spent[0] / 8, spent[1] / 8

    try:
        page, server = asyncio.run(look())
    finally:
        over.set()
        teller.join()
        serving.close()
    with capsys.disabled():
        print(f" page {1000 * page:.0f} ms, server {1000 * server:.0f} ms of CPU a second", end="")
    assert page < 0.7
    assert server < 0.3


def test_a_run_serves_its_page_and_leaves_it(tmp_path: Path) -> None:
    spec = {
        "entrypoint": "asgd.examples.digits:task", "stopAfter": {"seconds": 12}, "evaluation": {"everySeconds": 2},
        "workers": {"replicas": 2},
    }  # fmt: skip
    with Run(tmp_path, spec, "--page", DEFAULT) as run:
        url = run.until("its address", lambda: _text(run.output / address.FILE))

        async def look() -> None:
            async with browser() as tab:
                await looked_at(tab, url)
                await tab.until("document.getElementById('link').textContent === 'live'")
                await tab.until("state && state.columns.t.length > 2 && state.rowsOfLanes.size === 2")
                await tab.until("state.over")
                assert (await tab.run(SEEN.format("#line"))).startswith("It is done after ")

        asyncio.run(look())
        assert run.wait() == 0
    assert not (run.output / address.FILE).exists()
    report = tmp_path / "report"
    subprocess.run([ASGD, "report", str(run.output), "--output", str(report)], check=True, timeout=200)

    async def look_again() -> None:
        async with browser() as tab:
            await looked_at(tab, (report / "page.html").as_uri())
            assert await tab.run("state.byWorker.size") == 2
            assert await tab.run("state.evaluations.length") > 1

    asyncio.run(look_again())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""
