"""Real queues and gang schedulers for the tests that are about them: Kueue, coscheduling, and Volcano's kinds.

Built apart (`python3 -m tests.cluster build-queues`), for they cost a fresh machine more than the tests are worth that
need them; without them these tests skip, in CI too. Their CRDs come with their modules (all Apache-2.0) and are kept in
the cache, so that nothing of them is copied into this repository and a cached program needs no module proxy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, copytree, rmtree

from tests.cluster import binaries
from tests.cluster.binaries import Program
from tests.cluster.layout import MODULES, cache
from tests.cluster.shell import run

KUEUE = Program("kueue", "kueue", "sigs.k8s.io/kueue/cmd/kueue")
COSCHEDULING = Program("coscheduling", "coscheduling", "sigs.k8s.io/scheduler-plugins/cmd/scheduler")


@dataclass(frozen=True)
class Manifests:
    """A folder of a Go module that modules/NAME pins."""

    name: str
    source: str
    """Module path."""
    folder: str

    @property
    def kept(self) -> Path:
        """Where it is in the cache, under its version."""
        lines = (MODULES / self.name / "go.sum").read_text().splitlines()
        version = next(line.split()[1] for line in lines if line.startswith(f"{self.source} "))
        return cache() / "manifests" / f"{self.name}-{version}"

    def built(self) -> bool:
        return self.kept.exists()

    def keep(self) -> None:
        found = json.loads(run("go", "mod", "download", "-json", self.source, cwd=MODULES / self.name))
        partial = self.kept.with_name(f".{self.name}.partial")
        rmtree(partial, ignore_errors=True)
        copytree(Path(found["Dir"]) / self.folder, partial, copy_function=copyfile)
        for folder in (partial, *partial.rglob("*/")):
            folder.chmod(0o755)  # those of Go's module cache may not be written to
        partial.rename(self.kept)


KUEUE_MANIFESTS = Manifests("kueue", "sigs.k8s.io/kueue", "config")
COSCHEDULING_MANIFESTS = Manifests("coscheduling", "sigs.k8s.io/scheduler-plugins", "config/crd/bases")
VOLCANO_MANIFESTS = Manifests("volcano", "volcano.sh/volcano", "config/crd/volcano/bases")
_PROGRAMS = [KUEUE, COSCHEDULING]
_MANIFESTS = [KUEUE_MANIFESTS, COSCHEDULING_MANIFESTS, VOLCANO_MANIFESTS]


def build() -> None:
    """All of them, once."""
    binaries.build(_PROGRAMS)
    for manifests in _MANIFESTS:
        if not manifests.built():
            manifests.keep()


def path(program: Program) -> Path:
    return cache() / "bin" / program.name
