"""Draws the pictures of docs/concepts.md as SVG: a push's way, staleness, rounds, leases, terms.

An own background, and colours that follow the reader's light or dark scheme, so that each picture can be read on any
page. `make generate` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images" / "concepts"
WIDTH = 900
STYLE = """
    text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328; }
    .b { font-weight: 650; } .m { fill: #59636e; font-size: 13px; } .on { fill: #ffffff; }
    .m, .b { paint-order: stroke; stroke: #ffffff; stroke-width: 5px; }
    .card { fill: #ffffff; stroke: #d1d9e0; } .box { fill: #eef2f6; stroke: #8c959f; }
    .l { stroke: #59636e; stroke-width: 1.5; fill: none; } .dash { stroke-dasharray: 4 4; } .head { fill: #59636e; }
    .blue { fill: #2f6fb5; } .green { fill: #0b7a58; } .grey { fill: #c3cad2; } .amber { fill: #9a5b00; }
    .redline { stroke: #b3261e; stroke-width: 2; fill: none; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; } .m { fill: #9da7b1; } .on { fill: #0d1117; }
      .m, .b { stroke: #161b22; }
      .card { fill: #161b22; stroke: #30363d; } .box { fill: #21262d; stroke: #6e7681; }
      .l { stroke: #9da7b1; } .head { fill: #9da7b1; }
      .blue { fill: #6aa9ee; } .green { fill: #35c79b; } .grey { fill: #4c5662; } .amber { fill: #f0b73f; }
      .redline { stroke: #ff8a80; }
    }
"""


class Drawing:
    """An SVG in the making; coordinates are pixels from the top left."""

    def __init__(self, title: str, height: int) -> None:
        self.title, self.height = title, height
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "", at: str = "start") -> None:
        """`at`: start | middle | end."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{at}">{escape(words)}</text>'
        )

    def box(self, x: float, y: float, w: float, h: float, words: str = "", kind: str = "box") -> None:
        """A rounded rectangle with words in its middle."""
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="4" class="{kind}"/>')
        if words:
            plain = kind in ("box", "card", "grey")
            self.text(x + w / 2, y + h / 2 + 5, words, "" if plain else "on", "middle")

    def line(self, x: float, y: float, to_x: float, to_y: float, kind: str = "l") -> None:
        """A straight line."""
        self.parts.append(f'<path d="M{x:g} {y:g} L{to_x:g} {to_y:g}" class="{kind}"/>')

    def arrow(self, x: float, y: float, to_x: float, to_y: float, kind: str = "l") -> None:
        """A line with a head at its end."""
        self.parts.append(
            f'<path d="M{x:g} {y:g} L{to_x:g} {to_y:g}" class="{kind}" marker-end="url(#head)"/>'
        )

    def cross(self, x: float, y: float, r: float = 7) -> None:
        """A process that has died."""
        self.line(x - r, y - r, x + r, y + r, "redline")
        self.line(x + r, y - r, x - r, y + r, "redline")

    def svg(self) -> str:
        """The file."""
        body = "\n  ".join(self.parts)
        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img">
  <title>{escape(self.title)}</title>
  <style>{STYLE}  </style>
  <defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
    <path d="M0 0 L10 5 L0 10 z" class="head"/></marker></defs>
  <rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1}" rx="10" class="card"/>
  {body}
</svg>
"""


def push() -> Drawing:
    """One exchange: down the page is time."""
    d = Drawing(
        "The way of a push: a worker's gradient goes to the shards in chunks, each answers with newer weights",
        470,
    )
    worker, shards = 150, (560, 790)
    d.text(worker, 32, "worker 3", "b", "middle")
    for number, x in enumerate(shards):
        d.text(x, 32, f"shard {number}", "b", "middle")
        d.line(x, 42, x, 450, "l dash")
    d.line(worker, 42, worker, 450, "l dash")
    d.box(40, 56, 220, 34, "has weights of version 41")
    d.box(40, 104, 220, 58, "", "blue")
    d.text(worker, 128, "forward, backward", "on", "middle")
    d.text(worker, 150, "of one batch", "on", "middle")
    for x, y in ((shards[1], 140), (shards[0], 160)):
        d.arrow(262, y, x - 4, y + 26)
    d.text(285, 128, "1. push: chunks leave while backward goes on,", "m")
    d.text(285, 204, "each with worker, incarnation, number, term", "m")
    d.box(455, 222, 210, 32, "2. is it a repeat? too old?")
    d.text(676, 234, "a repeat is answered again", "m")
    d.text(676, 252, "and not applied again", "m")
    d.box(455, 266, 210, 32, "3. applies the gradient", "green")
    d.text(676, 287, "version 43 becomes 44", "m")
    for x, y in ((shards[0], 318), (shards[1], 338)):
        d.arrow(x - 4, y, 264, y + 26)
    d.text(285, 316, "4. reply: the version, and its weights", "m")
    d.box(40, 352, 220, 34, "has weights of version 44")
    d.box(40, 400, 220, 36, "the next batch", "blue")
    d.text(300, 405, "Staleness of this push: 43 - 41 = 2.", "b")
    d.text(300, 428, "Two pushes of other workers came between its pull and its push.", "m")
    return d


def staleness() -> Drawing:
    """Three workers and one shard; to the right is time."""
    d = Drawing(
        "Staleness: how many pushes of others a shard has applied since the pushing worker pulled", 330
    )
    left, wide = 120, 740
    steps: Sequence[tuple[int, float, float]] = (
        (0, 0, 180), (1, 40, 240), (0, 180, 350), (1, 240, 500), (0, 350, 560), (1, 500, 660),
        (2, 0, 430), (2, 430, 728),
    )  # fmt: skip
    for row in range(3):
        d.text(30, 62 + 54 * row, f"worker {row}", "b")
    d.text(30, 232, "shard 0", "b")
    d.line(left, 228, left + wide, 228)
    ends = sorted(end for _, _, end in steps)
    for worker, begin, end in steps:
        pulled = 10 + sum(other <= begin for other in ends)
        applied = 10 + ends.index(end)
        y = 42 + 54 * worker
        stale = applied - pulled
        d.box(
            left + begin + 2,
            y,
            end - begin - 5,
            32,
            f"from version {pulled}",
            "amber" if stale > 2 else "blue",
        )
        d.line(left + end, y + 32, left + end, 222, "l dash")
        d.parts.append(f'<circle cx="{left + end:g}" cy="228" r="5" class="head"/>')
        d.text(left + end, 252, f"v{applied + 1}", "m", "middle")
        d.text(left + end, 274, f"stale {stale}", "b" if stale > 2 else "", "middle")
    d.text(
        30,
        308,
        "A slow worker is the stalest: while it computed one gradient, the shard applied those of the others.",
        "m",
    )
    return d


def rounds() -> Drawing:
    """The same three workers, with and without rounds."""
    d = Drawing("Rounds wait for the slowest worker; asynchronous pushes do not wait", 420)
    times = (100, 130, 210)
    d.text(24, 34, "In rounds (sync, local SGD and others)", "b")
    for row, time in enumerate(times):
        y = 50 + 36 * row
        d.text(24, y + 19, f"worker {row}")
        for start in (100, 350, 600):
            d.box(start, y, time, 28, "compute", "blue")
            if time < 210:
                d.box(start + time + 2, y, 208 - time, 28, "waits", "grey")
    for number, x in enumerate((316, 566, 816)):
        d.box(x - 5, 50, 29, 100, "", "green")
        d.text(x + 9, 178, f"round {number + 1}", "m", "middle")
    d.text(24, 203, "Green: the servers apply one round, made of one part of every live worker.", "m")
    d.text(24, 246, "Asynchronous (A-SGD)", "b")
    for row, time in enumerate(times):
        y = 262 + 36 * row
        d.text(24, y + 19, f"worker {row}")
        at = 100
        while at + time <= 850:
            d.box(at, y, time - 10, 28, "compute", "blue")
            d.box(at + time - 9, y, 8, 28, "", "green")
            at += time
        d.box(at, y, 850 - at, 28, "", "blue") if 850 - at > 12 else None
    d.text(24, 395, "Green: a push that is applied at once. Nobody waits; gradients are stale instead.", "m")
    return d


def leases() -> Drawing:
    """Chunks of a dataset before and after a worker's death."""
    d = Drawing("Leases: what a lost worker had leased and not pushed goes back to the pool", 300)
    names = {
        "green": "visited: shard 0 accepted the push that names it",
        "blue": "leased to worker 0",
        "amber": "leased to worker 1",
        "grey": "in the pool",
    }
    before = ["green"] * 9 + ["amber"] * 4 + ["blue"] * 3 + ["grey"] * 8
    after = ["green"] * 9 + ["green"] * 2 + ["grey"] * 2 + ["blue"] * 3 + ["grey"] * 8
    d.text(24, 34, "Samples of an epoch while worker 1 computes", "b")
    d.text(24, 138, "Worker 1 has pushed two of its four samples and dies", "b")
    for y, row in ((48, before), (152, after)):
        for index, kind in enumerate(row):
            d.box(24 + 35.5 * index, y, 33, 44, str(index), kind)
    d.cross(24 + 35.5 * 12.97, 146, 6)
    d.line(24 + 35.5 * 11, 202, 24 + 35.5 * 13 - 3, 202)
    d.text(24 + 35.5 * 12, 222, "back in the pool: leased again, to whoever asks next", "m", "middle")
    for index, (kind, words) in enumerate(names.items()):
        x = (24, 400, 570, 740)[index]
        d.box(x, 252, 18, 18, "", kind)
        d.text(x + 26, 266, words, "m")
    return d


def terms() -> Drawing:
    """A shard that is lost and comes back, and its former self."""
    d = Drawing(
        "Terms: a server that comes back begins at its newest save, and its former self is refused", 360
    )
    d.text(24, 58, "shard 0,", "b")
    d.text(24, 78, "first start", "b")
    d.box(130, 44, 360, 40, "term 1: versions 0 to 112", "blue")
    d.text(24, 178, "shard 0,", "b")
    d.text(24, 198, "started again", "b")
    d.box(560, 164, 310, 40, "term 2: goes on at version 100", "green")
    d.text(24, 288, "checkpoint", "b")
    d.text(24, 308, "store", "b")
    d.line(130, 292, 870, 292)
    for x, words in ((270, "save of version 50"), (420, "save of version 100")):
        d.arrow(x, 86, x, 280)
        d.box(x - 66, 282, 132, 22, words.removeprefix("save of "))
    d.cross(498, 64)
    d.text(515, 60, "its node is cut off", "m")
    d.text(515, 78, "after version 112", "m")
    d.line(424, 108, 488, 108, "redline")
    d.text(502, 114, "12 updates were acknowledged", "m")
    d.text(502, 132, "and not saved: lost, and counted", "m")
    d.arrow(486, 282, 584, 208)
    d.text(545, 250, "claims term 2, reads version 100", "m")
    d.text(
        130,
        338,
        "If the first process still lives on its node: workers ignore its term, and the store refuses its writes.",
        "m",
    )
    return d


def outputs() -> dict[Path, str]:
    """{file: what it holds}"""
    return {
        FOLDER / f"{draw.__name__}.svg": draw().svg() for draw in (push, staleness, rounds, leases, terms)
    }
