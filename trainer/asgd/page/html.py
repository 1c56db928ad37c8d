"""The page as one HTML document that needs nothing else: styles, scripts and, for a file, all that is shown.

What a job says is put into it as JSON in which no `<` stands, and the page writes it as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from asgd.spec.phases import LEVELS, MIXES, PHASES, SLOT_SECONDS

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (
    "uplot/uPlot.iife.min.js", "tools.js", "state.js", "charts.js", "lanes.js", "heat.js", "panels.js", "page.js",
)  # fmt: skip
STYLES = ("uplot/uPlot.min.css", "page.css")


@cache
def _text(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    return "\n".join(_text(name) for name in SCRIPTS)


def policy() -> str:
    """Of what the document may load: its own script and nothing from anywhere else."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def document(title: str, boot: dict[str, Any]) -> str:
    """The whole page. `boot`: {"live": address of its state} or {"state": what is shown}."""
    told = boot | {"phases": {"names": PHASES, "levels": LEVELS, "slot": SLOT_SECONDS, "mixes": MIXES}}
    data = msgspec.json.encode(told).decode().replace("<", "\\u003c")
    styles = "\n".join(_text(name) for name in STYLES)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy()}">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{styles}</style>
</head>
{_text("page.html")}
<script type="application/json" id="boot">{data}</script>
<script>{_script()}</script>
</body>
</html>
"""
