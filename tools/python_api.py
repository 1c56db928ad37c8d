"""Makes the page of the Python API: what `asgd` exports, from its sources, so that nothing has to be installed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import asgd

TRAINER = Path(__file__).resolve().parent.parent / "trainer"
HEAD = """\
# Python API

What `import asgd` offers. Made from the sources by `make generate`; do not edit. Guides: [a task](../how-to/task.md),
[your own loop](../how-to/own-loop.md), [from Python and notebooks](../how-to/from-python.md),
[callbacks](../how-to/hooks-and-loggers.md).

"""
MORE = {
    "asgd.errors": ("AsgdError", "UserError", "RunFailed"),
    "asgd.callbacks": ("Moment", "Start", "Step", "Evaluation", "Checkpoint", "End"),
    "asgd.session": ("Connection", "Models"),
    "asgd.interactive.call": ("Replayed",),
}
"""{module: classes that are a part of the API without being exported}."""
Definition = ast.ClassDef | ast.FunctionDef


def page() -> str:
    """The whole page as Markdown."""
    homes = [(f"asgd.{name}", *_found(home, name)) for name, home in sorted(asgd._HOME.items())]
    homes += [(f"{module}.{name}", *_found(module, name)) for module, names in MORE.items() for name in names]
    return HEAD + "".join(_section(name, node, module) for name, node, module in homes)


def _found(home: str, name: str) -> tuple[Definition, ast.Module]:
    """The definition of `name` in module `home`, or where that has it from."""
    module = _parsed(home)
    for node in module.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name and not _overload(node):
            return node, module
        if isinstance(node, ast.ImportFrom) and any(
            (alias.asname or alias.name) == name for alias in node.names
        ):
            return _found(str(node.module), name)
    raise ValueError(f"{home} has no {name}")


def _parsed(module: str) -> ast.Module:
    path = TRAINER.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def _section(name: str, node: Definition, module: ast.Module) -> str:
    text = f"## {name}\n\n"
    if isinstance(node, ast.FunctionDef):
        return text + f"```text\n{_signature(node, name)}\n```\n\n{_docstring(node)}"
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    text += f"```text\nclass {name}({bases})\n```\n\n{_docstring(node)}".replace("()", "")
    rows = [f"| `{field}` | {meaning} |\n" for field, meaning in _fields(node)]
    text += "| field | meaning |\n|---|---|\n" + "".join(rows) + "\n" if rows else ""
    for method in _methods(node):
        kind = [ast.unparse(found) for found in method.decorator_list]
        shown = f"{name}.{method.name}" if "property" in kind else _signature(method, f"{name}.{method.name}")
        text += f"**`{shown}`**\n\n{_docstring(method)}"
    return text


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and not _overload(item):
            yield item


def _overload(node: Definition) -> bool:
    return any(ast.unparse(found).endswith("overload") for found in node.decorator_list)


def _signature(node: ast.FunctionDef, name: str) -> str:
    """The call as a user writes it, without `self`."""
    given = re.sub(r"^(?:self|cls)(?:, |$)", "", ast.unparse(node.args))
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{name}({given}){answer}"


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """(field with its type and default, the docstring below it)."""
    for number, item in enumerate(node.body):
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and not item.target.id.startswith("_")
        ):
            default = f" = {ast.unparse(item.value)}" if item.value else ""
            below = node.body[number + 1] if number + 1 < len(node.body) else None
            said = (
                below.value.value
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                else ""
            )
            field = f"{item.target.id}: {ast.unparse(item.annotation)}{default}"
            yield field.replace("|", "\\|"), " ".join(str(said).split()).replace("|", "\\|")


def _docstring(node: Definition) -> str:
    """As prose; a paragraph that is laid out in columns stays so."""
    text = ""
    for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
        laid_out = re.search(r"\S {2,}\S|^ ", paragraph, re.M) or re.match(r"\w+: ", paragraph)
        text += f"```text\n{paragraph}\n```\n\n" if laid_out else f"{' '.join(paragraph.split())}\n\n"
    return text if text.strip() else ""
