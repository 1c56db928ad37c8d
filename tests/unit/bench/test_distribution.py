"""The benchmark is a distribution of its own, of the product's version; wheel and images of the product lack it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from setuptools import find_packages

import asgd

ROOT = Path(__file__).parents[3]


def project(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def test_it_measures_the_version_that_it_came_with() -> None:
    bench, product = project("bench/pyproject.toml")["project"], project("pyproject.toml")["project"]
    assert bench["version"] == product["version"] == asgd.__version__
    assert bench["dependencies"] == [f"asgd-operator[trainer,examples]=={asgd.__version__}"]


def test_the_product_s_wheel_and_images_do_not_hold_it() -> None:
    where = project("pyproject.toml")["tool"]["setuptools"]["packages"]["find"]["where"]
    packages = {name.split(".")[0] for folder in where for name in find_packages(str(ROOT / folder))}
    assert packages == {"asgd", "asgd_operator"}
    assert "bench" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "!bench" not in (ROOT / ".dockerignore").read_text(encoding="utf-8")
