"""A real Chromium without a window, by its DevTools protocol: what the tests of the page look through.

aiohttp speaks with it, so nothing is installed for it but the browser itself (`apt-get install chromium`).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_SECONDS = 120.0
_BEYOND = """((width) => {
  const scrolls = (node) => node && (getComputedStyle(node).overflowX !== "visible" || scrolls(node.parentElement));
  return [...document.querySelectorAll("body *")].filter((node) => {
    const own = node.getBoundingClientRect(), section = node.closest("section");
    const right = Math.min(width, section ? section.getBoundingClientRect().right : width);
    return own.width && !node.matches(".skip") && !scrolls(node.parentElement) && own.right > right + 1;
  }).map((node) => `${node.tagName.toLowerCase()}.${node.className} ${node.textContent.trim().slice(0, 60)}`);
})({})"""


def binary() -> str | None:
    """Where Chromium is, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Tab:
    """One page. `problems`: what its console and its exceptions said."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.problems: list[str] = []
        self._measures = False
        self._width = 0
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                self.problems.append(json.dumps(told["params"]["exceptionDetails"])[:600])
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.problems.append(told["params"]["entry"]["text"])

    async def ask(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol; its result."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        answer = self._answers[number]
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        told = await asyncio.wait_for(answer, PATIENCE_SECONDS)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        return told["result"]

    async def open(
        self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False, scale: float = 1.0
    ) -> None:
        """Shows `url` in a window of this size."""
        self._width = width
        for domain in ("Page", "Runtime", "Log"):
            await self.ask(f"{domain}.enable")
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
            mobile=width < 600,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.ask("Emulation.setEmulatedMedia", features=features)
        await self.ask("Page.navigate", url=url)
        drawn = "(!document.getElementById('boot') || !!document.body.dataset.drawn)"
        await self.until(f"document.readyState === 'complete' && location.href !== 'about:blank' && {drawn}")

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(json.dumps(told["exceptionDetails"])[:400])
        return told["result"].get("value")

    async def until(self, script: str) -> Any:
        """Waits for an expression to be true; returns it."""
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not (value := await self.run(script)):
            if asyncio.get_running_loop().time() > end:
                raise TimeoutError(script)
            await asyncio.sleep(0.1)
        return value

    async def beyond(self) -> list[str]:
        """What sticks out of its section or of the screen to the right, where nobody can scroll to it."""
        return list(await self.run(_BEYOND.replace("{}", str(self._width))))

    async def seconds_of_work(self) -> float:
        """CPU seconds that the page's thread has worked since the first call."""
        if not self._measures:
            self._measures = True
            await self.ask("Performance.enable", timeDomain="threadTicks")
        told = (await self.ask("Performance.getMetrics"))["metrics"]
        return next(float(each["value"]) for each in told if each["name"] == "TaskDuration")

    async def key(self, key: str) -> None:
        """Presses a key."""
        for kind in ("keyDown", "keyUp"):
            await self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    async def picture(self, path: Path, *, down_to: str = "") -> None:
        """A PNG of what is shown, or of the page down to the end of the element that a selector names."""
        given: dict[str, Any] = {"format": "png", "captureBeyondViewport": bool(down_to)}
        if down_to:
            end = f"document.querySelector({json.dumps(down_to)}).getBoundingClientRect().bottom + scrollY"
            given["clip"] = {
                "x": 0,
                "y": 0,
                "width": self._width,
                "height": 12 + await self.run(end),
                "scale": 1,
            }
        told = await self.ask("Page.captureScreenshot", **given)
        path.write_bytes(base64.b64decode(told["data"]))


@asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """Chromium with one tab, in a profile of its own; ends with the block."""
    program = binary()
    assert program is not None
    profile = Path(tempfile.mkdtemp(prefix="asgd-chromium-"))
    words = [
        program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--disable-gpu",
        "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage", "--disable-extensions",
        "--disable-background-networking", "--no-default-browser-check", "about:blank",
    ]  # fmt: skip
    if os.geteuid() == 0:
        words.insert(1, "--no-sandbox")
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        port = await _port(profile, process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Tab(socket)
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    told = profile / "DevToolsActivePort"
    end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not told.exists() or not told.read_text().strip():
        if process.poll() is not None or asyncio.get_running_loop().time() > end:
            raise RuntimeError(f"Chromium did not start: exit status {process.poll()}")
        await asyncio.sleep(0.1)
    return int(told.read_text().split()[0])
