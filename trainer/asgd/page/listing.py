"""The runs in a folder, and their list as a page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from msgspec import Struct

from asgd.errors import UserError
from asgd.page import record
from asgd.page.past import state_of
from asgd.report import units

RUNS_MOST = 500
UNDONE = ("diverged", "interrupted", "suspended", "stopped")
"""Ends that no stop rule has asked for."""
_CSS = """\
:root { color-scheme: light dark; --page: #f7f8fa; --card: #fff; --ink: #1b1f24; --muted: #57606a; --line: #d8dee4;
  --link: #0b5cad; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #101316; --card: #191d21; --ink: #e7ebef; --muted: #9aa4ae;
  --line: #2d333a; --link: #79b8ff; --bad: #ff8a80; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 32px 20px; }
h1 { font-size: 22px; margin: 0 0 4px; overflow-wrap: anywhere; } p { margin: 0 0 20px; color: var(--muted); }
.table { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 10px 14px; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; } th { color: var(--muted); font-weight: 600; } .n { text-align: right; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 130px; } a { color: var(--link); }
.bad { color: var(--bad); font-weight: 600; }
"""


class Listed(Struct, frozen=True):
    """One run as the list shows it."""

    name: str
    job: str
    algorithm: str
    state: str
    updates: int
    loss: float | None
    metrics: dict[str, float | None]
    changed: float


def holds_run(folder: Path) -> bool:
    """Whether a run has written to `folder`."""
    return (folder / "history.jsonl").is_file() or (folder / record.NAME).is_file()


class Listing:
    """The run in `folder`, or those in the folders below it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.single = folder, holds_run(folder)

    def runs(self) -> list[Path]:
        """The newest first."""
        if self.single:
            return [self.folder]
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if path.is_dir() and holds_run(path)]
        return sorted(found, key=_changed, reverse=True)[:RUNS_MOST]

    def find(self, name: str) -> Path | None:
        """The run that is called `name`; the only one is called ''."""
        return next((path for path in self.runs() if name == ("" if self.single else path.name)), None)

    def listed(self) -> Iterator[Listed]:
        """Each run in a line; one whose files are damaged says so."""
        for path in self.runs():
            try:
                state = state_of(path)
            except UserError:
                yield Listed(path.name, "", "", "damaged", 0, None, {}, _changed(path))
                continue
            yield _listed(path, state)

    def page(self) -> str:
        """The list as HTML."""
        rows = "".join(map(_row, self.listed()))
        return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>asgd runs</title><style>{_CSS}</style></head><body><main><h1>Runs in {escape(str(self.folder))}</h1>
<p>The newest first. Each opens its own page.</p><div class="table"><table>
<thead><tr><th scope="col">run</th><th scope="col">job</th><th scope="col">algorithm</th><th scope="col">state</th>
<th scope="col" class="n">updates</th><th scope="col" class="n">loss</th><th scope="col">metrics</th>
<th scope="col">changed</th></tr></thead><tbody>{rows}</tbody></table></div></main></body></html>"""


def _listed(path: Path, state: dict[str, Any]) -> Listed:
    now = state.get("now") or {}
    reason = now.get("stopReason") or ""
    phase = f"done ({reason})" if reason and reason not in UNDONE else reason or now.get("phase", "")
    return Listed(
        path.name, now.get("job", ""), now.get("algorithm", ""), phase, now.get("updates", 0), now.get("loss"),
        now.get("metrics", {}), _changed(path),
    )  # fmt: skip


def _row(run: Listed) -> str:
    metrics = ", ".join(f"{name} {units.number(value)}" for name, value in run.metrics.items())
    changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed))
    name = escape(run.name)
    bad = ' class="bad"' if run.state in ("diverged", "damaged") else ""
    return (
        f'<tr><td><a href="run/{escape(run.name, quote=True)}/">{name}</a></td><td>{escape(run.job)}</td>'
        f'<td>{escape(run.algorithm)}</td><td{bad}>{escape(run.state)}</td><td class="n">{run.updates:,}</td>'
        f'<td class="n">{units.number(run.loss)}</td><td>{escape(metrics)}</td><td>{changed}</td></tr>'
    )


def _changed(folder: Path) -> float:
    times = [
        path.stat().st_mtime for name in (record.NAME, "history.jsonl") if (path := folder / name).exists()
    ]
    return max(times, default=0.0)
