"""Makes the reference page of what a run tells: `/status`, summary.json and history.jsonl, from their types.

Names, types and sentences are read from the source (docstrings below fields), which is the only place where they stand.
A field without a sentence of its own means what the field of that name means in the status.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

TRAINER = Path(__file__).resolve().parent.parent / "trainer" / "asgd"
HEAD = """\
# What a run tells

`GET /status` of shard 0, `summary.json` and `history.jsonl`. Made from `trainer/asgd/spec/status.py` and
`trainer/asgd/report/` by `make generate`; do not edit. All are JSON; times are seconds, sizes bytes.

"""
COLUMNS = "| field | type | meaning |\n|---|---|---|\n"


def page() -> str:
    """The whole page as Markdown."""
    status = _classes(TRAINER / "spec" / "status.py")
    known = _sentences(status["Totals"]) | _sentences(status["Status"])

    def section(node: ast.ClassDef) -> str:
        return _section(node, known)

    views = [name for name in status if name not in ("Totals", "Status")]
    text = HEAD
    text += "## /status and summary.json\n\n" + section(status["Totals"])
    text += "## /status alone\n\n" + section(status["Status"])
    text += "## summary.json alone\n\n" + section(_classes(TRAINER / "report" / "summary.py")["Summary"])
    text += "".join(f"## {name}\n\n" + section(status[name]) for name in views)
    text += "## Lines of history.jsonl\n\n"
    for node in _classes(TRAINER / "report" / "lines.py").values():
        kind = next((ast.literal_eval(word.value) for word in node.keywords if word.arg == "tag"), "")
        text += (f'### `"kind": "{kind}"`\n\n' if kind else "### All lines\n\n") + section(node)
    return text.rstrip() + "\n"


def _classes(path: Path) -> dict[str, ast.ClassDef]:
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def _section(node: ast.ClassDef, known: dict[str, str]) -> str:
    text = f"{_flat(ast.get_docstring(node) or '')}\n\n{COLUMNS}"
    own = _sentences(node)
    for name, kind in _fields(node):
        if name not in own and name not in known:
            raise ValueError(f"{node.name}.{name} has no sentence below it")
        meaning = own.get(name) or known[name]
        text += f"| `{_camel(name)}` | `{kind}` | {meaning} |\n"
    return text + "\n"


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """(name, type) of each."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id, ast.unparse(item.annotation).replace("|", "\\|").replace("None", "null")


def _sentences(node: ast.ClassDef) -> dict[str, str]:
    """{field: the docstring below it}."""
    found = {}
    for item, after in pairwise(node.body):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            words = after.value if isinstance(after, ast.Expr) else None
            if isinstance(words, ast.Constant) and isinstance(words.value, str):
                found[item.target.id] = _flat(words.value).replace("|", "\\|")
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _flat(text: str) -> str:
    return " ".join(text.split())
