"""Functions of a module that lies in a file: sent by name."""

from __future__ import annotations

from collections.abc import Callable


def task() -> str:
    return "by name"


def make(word: str) -> Callable[[], str]:
    """A closure: no module holds it."""
    return lambda: word + task()


class Maker:
    @staticmethod
    def task() -> str:
        return "of a class"

    def own(self) -> str:
        return "of an object"
