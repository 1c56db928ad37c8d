"""The environment's names are written once: programs that set or read them take them from `asgd.spec.environment`."""

from __future__ import annotations

import ast
from pathlib import Path

from asgd.spec.environment import Env

ROOT = Path(__file__).parents[3]


def test_no_program_spells_a_variable_by_itself() -> None:
    names = {str(name) for name in Env}
    spelled = []
    for folder in ("trainer", "operator", "bench", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name == "environment.py" and path.parent.name == "spec":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and node.value in names:
                    spelled.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.value}")
    assert not spelled


def test_each_variable_has_a_name_and_a_meaning_of_its_own() -> None:
    assert len({str(name) for name in Env}) == len(Env.__members__) == len({name.meaning for name in Env})
