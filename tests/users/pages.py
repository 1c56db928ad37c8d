"""The code blocks of a page: each names its file in its first line, `# tasks.py`; blocks of one file add up."""

from __future__ import annotations

import re
from pathlib import Path


def files(page: Path) -> dict[str, str]:
    """{file name: text} of all blocks but diffs."""
    found: dict[str, str] = {}
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if language != "diff":
            name = body.partition("\n")[0].removeprefix("# ")
            found[name] = found.get(name, "") + body
    return found


def write_files(page: Path, folder: Path) -> None:
    """Writes them into `folder`."""
    for name, text in files(page).items():
        assert re.fullmatch(r"\w+\.\w+", name), f"{page.name}: a block without its file's name: {name}"
        (folder / name).write_text(text)
