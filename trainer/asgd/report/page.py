"""report.html: several runs on one page that needs nothing else: no script, no font, no file beside it.

Panels are drawn once, in placeholder colours that become CSS variables, so that one inline SVG serves light and dark.
The legend and the table are HTML: they can be read, searched and copied.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from html import escape

from asgd.report.compared import Compared
from asgd.report.goal import Goal
from asgd.report.panels import DARK, LIGHT, Panel, Theme, panels, style
from asgd.report.picture import rc
from asgd.report.table import columns, groups

_PANEL_INCHES = (5.2, 3.5)
# No colour of these occurs by chance; SVG writes them in lower case.
_PLACEHOLDERS = Theme(
    ink="#0a0b01",
    muted="#0a0b02",
    grid="#0a0b03",
    target="#0a0b04",
    runs=tuple(f"#0a0c0{index}" for index in range(len(LIGHT.runs))),
)
_CSS = """\
:root { color-scheme: light dark; --page: #fbfbfc; --card: #ffffff; @LIGHT@ }
@media (prefers-color-scheme: dark) { :root { --page: #15171a; --card: #1d2024; @DARK@ } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1800px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
p { margin: 0; color: var(--muted); }
ul.legend { display: flex; flex-wrap: wrap; gap: 6px 22px; list-style: none; margin: 18px 0; padding: 0; }
ul.legend li { display: flex; align-items: center; gap: 8px; overflow-wrap: anywhere; }
svg.line { flex: none; width: 30px; height: 10px; }
div.panels { display: grid; gap: 16px; }
div.panels { grid-template-columns: repeat(auto-fit, minmax(min(max(400px, 30%), 100%), 1fr)); }
figure { margin: 0; padding: 14px 14px 8px; }
figure, div.table { background: var(--card); border: 1px solid var(--grid); border-radius: 8px; }
figcaption { font-weight: 600; margin-bottom: 6px; }
figure svg { display: block; width: 100%; height: auto; }
div.table { margin-top: 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 7px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { font-weight: 600; color: var(--muted); vertical-align: bottom; }
tr.groups th { border: 0; padding: 8px 8px 0; color: var(--ink); text-align: center; }
tr.groups th:not(:empty) {
  background: linear-gradient(var(--muted), var(--muted)) 0 100% / 100% 1px no-repeat content-box content-box;
}
.text { text-align: left; }
tbody th { position: sticky; left: 0; background: var(--card); font-weight: 500; text-align: left; }
tbody th span { display: flex; align-items: center; gap: 8px; }
tbody th, thead th:first-child { padding-left: 14px; }
tbody th small { display: block; color: var(--muted); font-weight: 400; padding-left: 38px; }
"""


def render(runs: Sequence[Compared], goal: Goal | None, title: str, note: str) -> str:
    """The whole page."""
    import matplotlib as mpl

    with mpl.rc_context(rc(_PLACEHOLDERS) | {"svg.fonttype": "path", "svg.hashsalt": "asgd"}):
        figures = "\n".join(_figure(name, draw, runs, goal) for name, draw in panels(goal))
    style_sheet = _CSS.replace("@LIGHT@", _variables(LIGHT)).replace("@DARK@", _variables(DARK))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style_sheet}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p>{escape(note)}</p>
<ul class="legend">
{"".join(f"<li>{_stroke(index)}{escape(run.label)}</li>" for index, run in enumerate(runs))}
</ul>
<div class="panels">
{figures}
</div>
<div class="table">
{_table(runs, goal)}
</div>
</main>
</body>
</html>
"""


def _variables(theme: Theme) -> str:
    runs = "".join(f"--run-{index}: {colour}; " for index, colour in enumerate(theme.runs))
    return (
        f"--ink: {theme.ink}; --muted: {theme.muted}; --grid: {theme.grid}; --target: {theme.target}; {runs}"
    )


def _named(theme: Theme) -> Iterator[tuple[str, str]]:
    """(placeholder, CSS variable)."""
    yield from (
        (theme.ink, "--ink"),
        (theme.muted, "--muted"),
        (theme.grid, "--grid"),
        (theme.target, "--target"),
    )
    yield from ((colour, f"--run-{index}") for index, colour in enumerate(theme.runs))


def _figure(name: str, draw: Panel, runs: Sequence[Compared], goal: Goal | None) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=_PANEL_INCHES, layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure.add_subplot(), runs, goal, _PLACEHOLDERS)
    picture = io.StringIO()
    figure.savefig(picture, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return f"<figure>\n<figcaption>{escape(name)}</figcaption>\n{_inline(picture.getvalue(), name)}</figure>"


def _inline(svg: str, name: str) -> str:
    """The picture as part of a page: no prologue, no fixed size, colours of the page."""
    _, _, body = svg.partition("<svg ")
    head, _, rest = body.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    rest = re.sub(r"<metadata>.*?</metadata>\s*", "", rest, flags=re.DOTALL)
    for placeholder, variable in _named(_PLACEHOLDERS):
        rest = rest.replace(placeholder, f"var({variable})")
    label = escape(name, quote=True)
    return (
        f'<svg role="img" aria-label="{label}" {box[0] if box else ""}'
        f' xmlns:xlink="http://www.w3.org/1999/xlink">{rest}'
    )


def _stroke(index: int) -> str:
    _, dashes = style(LIGHT, index)
    colour = f"--run-{index % len(LIGHT.runs)}"
    return (
        '<svg class="line" viewBox="0 0 30 10" aria-hidden="true"><path d="M0 5H30" fill="none" stroke-width="2.5"'
        f' stroke="var({colour})" stroke-dasharray="{dashes or "none"}"/></svg>'
    )


def _table(runs: Sequence[Compared], goal: Goal | None) -> str:
    shown = columns(runs, goal)
    spans = "".join(
        f'<th colspan="{count}"{_class(False)}>{escape(name)}</th>' for name, count in groups(shown)
    )
    head = "".join(f"<th{_class(column.numeric)}>{escape(column.title)}</th>" for column in shown)
    rows = []
    for index, run in enumerate(runs):
        name = f"<span>{_stroke(index)}{escape(run.label)}</span><small>{escape(run.folder)}</small>"
        cells = "".join(f"<td{_class(column.numeric)}>{escape(column.cell(run))}</td>" for column in shown)
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    body = "\n".join(rows)
    top = f'<tr class="groups"><th></th>{spans}</tr>\n<tr><th class="text">run</th>{head}</tr>'
    return f"<table>\n<thead>{top}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _class(numeric: bool) -> str:
    return "" if numeric else ' class="text"'
