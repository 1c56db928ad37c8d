"""Keeps files and functions small enough to read: `make lint` fails with a line for each that is over.

No file of the product or of the tests has more than 400 lines; no function of the product more than 60, its decorators
and docstring left out; half of the product's files have fewer than 120 lines. There is no list of exceptions.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("trainer", "operator", "bench")
FILE_LINES, FUNCTION_LINES, MEDIAN_LINES = 400, 60, 120


def main() -> int:
    """1 when anything is over its budget."""
    product = [path for folder in PRODUCT for path in sources(folder)]
    lengths = {path: lines(path) for path in [*product, *sources("tests"), *sources("tools")]}
    over = [
        f"{path.relative_to(ROOT)}: {count} lines, at most {FILE_LINES}"
        for path, count in lengths.items()
        if count > FILE_LINES
    ]
    over += [line for path in product for line in long_functions(path)]
    middle = statistics.median(lengths[path] for path in product)
    if middle >= MEDIAN_LINES:
        over.append(
            f"half of the product's files have {middle:g} lines or more, must be under {MEDIAN_LINES}"
        )
    print("\n".join(over) or f"{len(product)} files of the product, median {middle:g} lines")
    return int(bool(over))


def sources(folder: str) -> list[Path]:
    """Python files of a folder; empty ones (of packages) would make the median look better than it is."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if path.stat().st_size)


def lines(path: Path) -> int:
    """Lines of a file."""
    return path.read_text(encoding="utf-8").count("\n")


def long_functions(path: Path) -> Iterator[str]:
    """A line for each function whose body is too long."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = code_lines(node)
            if length > FUNCTION_LINES:
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield f"{where}: {node.name} has {length} lines, at most {FUNCTION_LINES}"


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    body = node.body
    first = body[0]
    documented = ast.get_docstring(node, clean=False) is not None
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


if __name__ == "__main__":
    sys.exit(main())
