"""The cgroups under which a node's pods are counted and limited, for version 1, version 2 and mixtures.

The kubelet creates everything below the folder it is given, and leaves it behind; `remove` takes all of it
away.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tests.cluster.shell import wait_until

_ROOT = Path("/sys/fs/cgroup")
_NEEDED = {"cpuset", "cpu", "memory", "pids", "hugetlb", "io"}


def create(name: str) -> None:
    """The cgroup `name` (a path of one or more folders) in every hierarchy of this machine."""
    for hierarchy in _hierarchies():
        folder = hierarchy
        for part in Path(name).parts:
            _pass_controllers_down(folder)
            folder = folder / part
            folder.mkdir(exist_ok=True)
            _copy_cpuset(folder)
        _pass_controllers_down(folder)


def remove(name: str) -> None:
    """Remove the cgroup `name` and all below it; its killed processes may take a moment to go."""
    for hierarchy in _hierarchies():
        wait_until(f"the end of {hierarchy / name}", partial(_removed, hierarchy / name), 20)


def existing(name: str) -> list[Path]:
    """Folders of the cgroup `name` on this machine."""
    return [hierarchy / name for hierarchy in _hierarchies() if (hierarchy / name).exists()]


def _hierarchies() -> list[Path]:
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return [folder for folder in _ROOT.iterdir() if folder.is_dir() and not folder.is_symlink()]


def _pass_controllers_down(folder: Path) -> None:
    """In version 2 a cgroup's children have only the controllers that it passes down."""
    offered = folder / "cgroup.controllers"
    if offered.exists():
        words = sorted(_NEEDED & set(offered.read_text().split()))
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{word}" for word in words))


def _copy_cpuset(folder: Path) -> None:
    """In version 1 a new cpuset is empty and takes no process until it names processors and memory."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (folder / name).exists() and not (folder / "cgroup.controllers").exists():
            (folder / name).write_text((folder.parent / name).read_text())


def _removed(top: Path) -> bool:
    try:
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()
    except OSError:  # busy: a killed process has not left yet
        return False
    return not top.exists()
