"""MkDocs' hook of the site: what pages link to outside of docs/ becomes a part of it, so that it needs no network.

Pages are written for GitHub, with links from file to file. README, CHANGELOG and CONTRIBUTING become pages. Any other
file that a page links to becomes a page with its text, a folder a page with its files. A link to nothing is a warning,
with which `mkdocs build --strict` fails. Lists are not written alike in the two dialects
of Markdown: see `as_python_markdown`.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""{path in the repository: path in the site}."""
DECISIONS = "docs/decisions"
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".sh": "sh",
    ".toml": "toml",
    ".md": "markdown",
    ".json": "json",
}
AS_IT_IS = (".ipynb",)
LINK = re.compile(r"`[^`]*`|(?<=\]\()[^)\s]+(?=\))")
"""The target of a link; or code, which may look like one."""
LIST = re.compile(r" *(?:[*-]|\d+\.) ")

log = logging.getLogger("mkdocs.hooks.docs_site")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages and files from outside of docs/."""
    for path, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text(encoding="utf-8")))
    files.append(File.generated(config, "decisions/index.md", content=_decisions()))
    pages = [file for file in files if file.is_documentation_page()]
    wanted = {path for file in pages for path in _outside(file)}
    for path in sorted(wanted):
        for uri, content in _source(path):
            if uri not in files.src_uris:
                files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them, and lists with an empty line before them."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown

    def rewritten(link: str) -> str:
        target, mark, anchor = link.partition("#")
        if not target or "://" in target or link.startswith("`"):
            return link
        uri = _uri(_resolved(here, target))
        if uri is None:
            log.warning("%s links to %s, which is not there", _path(here), target)
            return link
        return posixpath.relpath(uri, posixpath.dirname(here)) + mark + anchor

    text = "\n".join(
        line if code else LINK.sub(lambda found: rewritten(found[0]), line) for line, code in _lines(markdown)
    )
    return as_python_markdown(text) + "\n"


def as_python_markdown(text: str) -> str:
    """Lists of GitHub's dialect as Python-Markdown reads them: after an empty line, what belongs to an item by four."""
    made: list[str] = []
    item, shift = 0, 0
    for line, code in _lines(text):
        indent = len(line) - len(line.lstrip())
        if not code or line.lstrip().startswith("```"):
            listed = LIST.match(line) if indent < 4 and not code else None
            if listed and made and made[-1].strip() and not _in_list(made):
                made.append("")
            if listed and not indent:
                item = listed.end()
            elif line.strip() and not indent:
                item = 0
            shift = 4 - item if item and indent == item and not listed else 0
            if not code and made and made[-1].strip():
                shift = 0  # it goes on with the line above
        made.append(" " * shift + line if line.strip() else line)
    return "\n".join(made)


def _in_list(lines: list[str]) -> bool:
    """Whether the newest line is an item of a list, or goes on with one."""
    return bool(LIST.match(lines[-1])) or lines[-1].startswith(" ")


def _lines(markdown: str) -> Iterator[tuple[str, bool]]:
    """(line, whether it is code)."""
    inside = False
    for line in markdown.splitlines():
        fence = line.lstrip().startswith("```")
        yield line, inside or fence
        inside ^= fence


def _path(uri: str) -> str:
    """Where a page of the site stands in the repository."""
    return next((path for path, page in PAGES.items() if page == uri), f"docs/{uri}")


def _resolved(uri: str, target: str) -> str:
    return posixpath.normpath(f"{_path(uri)}/../{target}")


def _uri(path: str) -> str | None:
    """Where the site has a file or folder of the repository; None if there is none of that name."""
    if path in PAGES:
        return PAGES[path]
    if path == DECISIONS:
        return "decisions/index.md"
    place = ROOT / path
    if path.startswith("..") or not place.exists():
        return None
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if place.is_dir():
        return f"source/{path}/index.md"
    return f"source/{path}" if place.suffix in AS_IT_IS else f"source/{path}.md"


def _outside(file: File) -> Iterator[str]:
    """What a page links to outside of docs/."""
    for line, code in _lines(file.content_string):
        for link in () if code else LINK.findall(line):
            target = link.partition("#")[0]
            path = _resolved(file.src_uri, target)
            if (
                target
                and "://" not in target
                and target[0] != "`"
                and (_uri(path) or "").startswith("source/")
            ):
                yield path


def _source(path: str) -> Iterator[tuple[str, str]]:
    """(place in the site, text) of a file's page, or of a folder's and its files'."""
    uri, place = _uri(path), ROOT / path
    assert uri is not None
    if place.is_dir():
        names = sorted(f.name for f in place.iterdir() if f.is_file() and not f.name.startswith("."))
        listed = "".join(f"* [{name}]({name}.md)\n" for name in names)
        yield uri, _page(f"{path}/", listed)
        for name in names:
            yield from _source(f"{path}/{name}")
    elif place.suffix in AS_IT_IS:
        yield uri, place.read_text(encoding="utf-8")
    else:
        text = place.read_text(encoding="utf-8", errors="replace")
        yield uri, _page(path, f"~~~~~~{LANGUAGES.get(place.suffix, 'text')}\n{text.rstrip()}\n~~~~~~\n")


def _page(title: str, text: str) -> str:
    return f"---\nsearch: {{exclude: true}}\n---\n# {title}\n\n{text}"


def _decisions() -> str:
    """The table of all records."""
    rows = []
    for file in sorted((ROOT / DECISIONS).glob("*.md")):
        number, _, title = (
            file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").partition(": ")
        )
        rows.append(f"| [{number}]({file.name}) | {title} |\n")
    return "# Decisions\n\nWhy things are as they are, one page each.\n\n| | |\n|---|---|\n" + "".join(rows)
