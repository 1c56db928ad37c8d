"""The programs of the cluster: built once from Go modules, found again by a stamp of the module's files.

A module folder (modules/NAME) pins every dependency in go.mod and go.sum, so the stamp of these two files is
the identity of what is built from them. Separate folders avoid version fights. A binary appears by rename and
a lock covers each build, so sessions that build at the same time share the work. Debian packages are
debian.py's task.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from tests.cluster.layout import MODULES, cache
from tests.cluster.shell import ClusterError, run, say

KUBERNETES = "v1.34.4"
_VERSION = "k8s.io/component-base/version.git"
_KUBERNETES_FLAGS = f"-X {_VERSION}Version={KUBERNETES} -X {_VERSION}Major=1 -X {_VERSION}Minor=34"


@dataclass(frozen=True)
class Program:
    """One binary: the folder under modules/ that pins it, its Go package, flags for the linker, build tags."""

    name: str
    module: str
    package: str
    ldflags: str = ""
    tags: str = ""

    def stamp(self) -> Path:
        """The empty file beside the binary that says what it was built from: go.mod, go.sum and own sources."""
        folder = MODULES / self.module
        own = sorted(folder.glob("*.go"))
        parts = [path.read_bytes() for path in (folder / "go.mod", folder / "go.sum", *own)]
        digest = hashlib.sha256(b"".join(parts))
        return cache() / "bin" / f".{self.name}.{digest.hexdigest()[:12]}"

    def built(self) -> bool:
        return self.stamp().exists() and (cache() / "bin" / self.name).exists()


def _kubernetes(name: str) -> Program:
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", _KUBERNETES_FLAGS)


def _prometheus(name: str) -> Program:
    """Of the many ways to find targets only Kubernetes': Debian's package leaves just that one out."""
    package = f"github.com/prometheus/prometheus/cmd/{name}"
    return Program(name, "prometheus", package, tags="remove_all_sd,enable_kubernetes_sd")


API_TIER = [
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    *map(_kubernetes, ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")),
    Program("helm", "helm", "helm.sh/helm/v3/cmd/helm"),
]
NODE_TIER = [
    *API_TIER,
    *map(_kubernetes, ("kubelet", "kube-proxy")),
    Program("coredns", "coredns", "github.com/coredns/coredns"),
    Program("metrics-server", "metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    *map(_prometheus, ("prometheus", "promtool")),
]
BESIDE = [
    Program("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    Program("kstatus", "kstatus", "."),
]
"""What single tests need and no cluster: an S3 server, and kstatus' own verdict on objects."""


def missing(programs: list[Program]) -> list[Program]:
    """Those of `programs` that neither $KUBEBUILDER_ASSETS nor the cache holds."""
    return [program for program in programs if _asset(program.name) is None and not program.built()]


def build(programs: list[Program]) -> None:
    """Build what is missing, one after the other: the Go compiler uses every core by itself."""
    todo = missing(programs)
    if todo and which("go") is None:
        raise ClusterError(
            "`go` (1.24 or newer; it fetches the version that go.mod names) is needed to build: install it"
        )
    for number, program in enumerate(todo, 1):
        with locked(cache() / "bin" / f".{program.name}.lock", f"builds {program.name}"):
            if not program.built():
                _compile(program, f"{number} of {len(todo)}")


def find(name: str) -> Path:
    """Path of the program `name`: from $KUBEBUILDER_ASSETS when it is there, else from the cache."""
    if asset := _asset(name):
        return asset
    program = next(program for program in (*NODE_TIER, *BESIDE) if program.name == name)
    if not program.built():
        raise ClusterError(f"{name} is not built yet: run `python3 -m tests.cluster build`")
    return cache() / "bin" / name


def _asset(name: str) -> Path | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(folder) / name if folder else None
    return path if path and os.access(path, os.X_OK) else None


def _compile(program: Program, position: str) -> None:
    say(f"building {program.name} ({position}) ...")
    began = time.monotonic()
    target = cache() / "bin" / program.name
    partial = target.with_name(f".{program.name}.partial")
    flags = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", program.tags)
    run(
        *("go", "build", *flags, "-ldflags", f"-s -w {program.ldflags}", "-o", partial, program.package),
        cwd=MODULES / program.module,
        env={**os.environ, "CGO_ENABLED": "0"},
    )
    partial.rename(target)
    for old in target.parent.glob(f".{program.name}.{'[0-9a-f]' * 12}"):
        old.unlink()
    program.stamp().touch()
    say(f"built {program.name} in {time.monotonic() - began:.0f} s")


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock on `path`, a file to be made or a folder; who waits is told that another process `what`."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that {what} (it holds {path})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
