"""Where a command stands when it is called: a directory that may have been removed since."""

from __future__ import annotations

from pathlib import Path


def folder_gone() -> str:
    """A sentence where the current directory has been removed, on which each command stumbles at another place."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current directory has been removed; change to one that exists, and call the command again"
    return ""
