"""`asgd open DIR`: the page of a run that goes on or is over, or of all runs in a folder, until Ctrl-C.

A run that goes on serves its own page; its address is printed and nothing is served here.
"""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.request
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from asgd import exitcodes
from asgd.errors import UserError
from asgd.page import DEFAULT, OFF
from asgd.page import address as addresses
from asgd.page.listing import Listing, holds_run

REACH_SECONDS = 2.0


def run(place: str, where: str, browser: bool) -> int:
    """Opens `place`; returns the exit code. Raises UserError."""
    folder = Path(place)
    listing = Listing(folder)
    if not holds_run(folder) and not listing.runs():
        what = "is no run and holds none" if folder.is_dir() else "is no folder"
        raise UserError(f"open: {folder} {what}; name what asgd run wrote to, or a folder of such folders")
    if url := live_address(folder):
        _show(url, browser, "the run goes on and serves its page itself")
        return exitcodes.DONE
    if find_spec("aiohttp") is None:
        raise UserError("open: aiohttp is not installed here; `pip install asgd-operator[page]` brings it")
    if where == OFF:
        raise UserError(f"--page: {where!r} must be HOST:PORT, as {DEFAULT}")
    listener, url, token = addresses.listen(where)
    from asgd.page.past_server import serve

    try:
        asyncio.run(serve(listing, listener, token, lambda: _show(url, browser, "Ctrl-C ends it")))
    except KeyboardInterrupt:
        return exitcodes.DONE
    return exitcodes.DONE


def live_address(folder: Path) -> str:
    """Where the run in `folder` serves its page; empty where it does not."""
    try:
        url = (folder / addresses.FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    parts = urlsplit(url)
    if parts.scheme != "http" or not re.fullmatch(r"[\w.\-\[\]:]+", parts.netloc):
        return ""
    with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=REACH_SECONDS):
        return url
    return ""


def _show(url: str, browser: bool, what: str, opened: Callable[[str], bool] | None = None) -> None:
    print(f"page       {url} ({what})", flush=True)
    if browser and sys.stdout.isatty():
        with suppress(Exception):  # whatever a desktop's own programs raise
            (opened or webbrowser.open)(url)
