"""Makes the pictures of docs/how-to/page.md: a browser looks at real runs of digits, healthy ones and hurt ones.

    .venv/bin/python tools/page_pictures.py [--output FOLDER] [NAME...]

Needs Chromium. Takes about five minutes, most of it training. 500 workers have no room on a machine: they are told to
the page by the world of tests/unit/page/jobs.py. Each picture is as high as its first panels, on a phone and dark too.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from asgd.page.html import document
from asgd.page.past import state_of
from asgd.report.files import write_atomic
from tests.chromium import Tab, browser
from tests.local import scenes
from tests.unit.page.jobs import Pretended

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "images" / "page"
MOST_BYTES = 150_000
SECONDS = 24.0
"""A run has gone on for so long when it is looked at."""
CALM = "state && !!state.now && document.body.dataset.drawn > 3"


@dataclass(frozen=True, slots=True)
class Picture:
    """One look at a scene."""

    name: str
    down_to: str
    """The title of the last panel on it, by its id."""
    width: int = 1280
    dark: bool = False
    window: int = 60
    """Seconds of the lanes; 0: all."""


SCENES: dict[str, list[Picture]] = {
    "running": [Picture("running", "stale-title"), Picture("phone", "lanes-title", 390)],
    "degraded": [
        Picture("degraded-dark", "lanes-title", dark=True),
        Picture("phone-dark", "lanes-title", 390, dark=True),
    ],
    "hung": [Picture("hung", "lanes-title")],
    "diverged": [Picture("diverged-dark", "lanes-title", dark=True, window=0)],
    "rounds": [Picture("rounds", "workers-title")],
    "finished": [Picture("finished", "waits-title", window=0)],
    "many": [Picture("many", "lanes-title")],
}


@contextmanager
def place() -> Iterator[Path]:
    """A folder whose name is fit to be read on a picture; it is not kept."""
    folder = Path(tempfile.gettempdir()) / "runs"
    folder.mkdir()  # NB: fails where there is one, which is somebody else's
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def saved(folder: Path, state: dict[str, object]) -> str:
    """The address of a page as a file."""
    path = folder / "page.html"
    path.write_text(document("digits", {"state": state}), encoding="utf-8")
    return path.as_uri()


@contextmanager
def shown(scene: str, folder: Path) -> Iterator[str]:
    """The address of a page on which the scene is to be seen."""
    if scene == "many":
        happenings = {17: (30.0, "dies"), 203: (40.0, "hangs"), 4: (20.0, "wanders")}
        yield saved(folder, Pretended(500, 4, seconds=90, happenings=happenings).model(60.0).snapshot())
    elif scene == "diverged":
        with scenes.diverged(folder, epochs=60, pace=0.02) as run:
            yield saved(folder, state_of(run.output))
    elif scene == "finished":
        with scenes.running(folder, pace=0.01) as run:
            assert run.wait(600) == 0, run.words()
            yield saved(folder, state_of(run.output))
    else:
        with getattr(scenes, scene)(folder, SECONDS) as run:
            yield run.page()


async def taken(tab: Tab, url: str, picture: Picture, output: Path) -> Path:
    """Writes one picture into `output`; returns where it is."""
    await tab.open(url, width=picture.width, dark=picture.dark)
    await tab.until(CALM if url.startswith("http:") else "!!state")
    await tab.run(f"lanes.choose({picture.window})")
    with tempfile.NamedTemporaryFile(suffix=".png") as raw:
        await tab.picture(Path(raw.name), down_to=f"section:has(#{picture.down_to})")
        return write(Path(raw.name), output / f"{picture.name}.png")


def write(raw: Path, path: Path) -> Path:
    """A smaller PNG of `raw`: without alpha, with a palette where few colours would not be missed."""
    data = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    if data.tell() > MOST_BYTES:
        raise SystemExit(f"{path.name} has {data.tell():,} bytes, more than {MOST_BYTES:,}")
    write_atomic(path, data.getvalue())
    return path


async def look(names: list[str], output: Path) -> None:
    """Takes the pictures of the scenes `names`."""
    for name in names:
        with place() as work, shown(name, work) as url:
            async with browser() as tab:
                for picture in SCENES[name]:
                    print(await taken(tab, url, picture, output), flush=True)
                if tab.problems:
                    raise SystemExit(f"{name}: {tab.problems}")


def main() -> None:
    """Takes the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENES)}; without any, all")
    parser.add_argument("--output", type=Path, default=PICTURES, help="the folder of the pictures")
    given = parser.parse_args()
    if unknown := set(given.names) - set(SCENES):
        parser.error(f"{', '.join(sorted(unknown))}: there is no such scene; there are {', '.join(SCENES)}")
    given.output.mkdir(parents=True, exist_ok=True)
    asyncio.run(look(given.names or list(SCENES), given.output))


if __name__ == "__main__":
    main()
