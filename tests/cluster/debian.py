"""What comes from Debian: packages that a node and the image builds need, and busybox for the tests' own image.

Packages are installed only where a command is missing. busybox is unpacked into the cache
instead: that changes nothing on the machine. The image archives built here (pause, busybox) are what the
nodes start with. Whoever asks first makes them, also when `up` runs beside `build`: a lock covers each step.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import copy, rmtree, which

from tests.cluster.binaries import locked
from tests.cluster.layout import HERE, cache
from tests.cluster.shell import ClusterError, run, say

CNI_PLUGINS = Path("/usr/lib/cni")
NODE_COMMANDS = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "openssl": "openssl",
    "pgrep": "procps",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/include/stdlib.h": "libc6-dev",
}
PAUSE = "localhost/pause:1"
BUSYBOX = "localhost/busybox:1"


def missing_packages() -> list[str]:
    """Debian packages of the node tier whose command (or file) is not on this machine."""
    return [
        package
        for command, package in NODE_COMMANDS.items()
        if not (which(command) or Path(command).is_file())
    ]


def install_packages() -> None:
    """apt-get install what is missing; ClusterError without root."""
    if not missing_packages():
        return
    with locked(cache() / "packages.lock", "installs Debian packages"):
        _install(missing_packages())


def need_openssl() -> None:
    """ClusterError without the one program that even a control plane alone does not bring along."""
    if which("openssl") is None:
        raise ClusterError("openssl is missing: install it (Debian: apt-get install openssl)")


def _install(packages: list[str]) -> None:
    if not packages:
        return
    if os.getuid() != 0:
        raise ClusterError(
            f"the node tier needs these Debian packages: {' '.join(packages)}; install them as root"
        )
    say(f"installing {' '.join(packages)} ...")
    run("apt-get", "update", "-qq")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # NB: a fresh machine's own first update may still hold dpkg's lock.
    patient = ("-o", "DPkg::Lock::Timeout=600")
    run("apt-get", *patient, "install", "-y", "-qq", "--no-install-recommends", *packages, env=quiet)


def unpacked(package: str, program: str) -> Path:
    """Path of `program` out of the Debian `package`, downloaded into the cache once."""
    target = cache() / "debian" / package
    if not (target / program).exists():
        with locked(cache() / f"{package}.lock", f"unpacks {package}"):
            if not (target / program).exists():
                _unpack(package, target)
    return target / program


def _unpack(package: str, target: Path) -> None:
    say(f"unpacking {package} ...")
    with tempfile.TemporaryDirectory(dir=_made(target.parent)) as folder:
        run("apt-get", "download", "-q", package, cwd=Path(folder))
        archive = next(Path(folder).glob("*.deb"))
        run("dpkg-deb", "-x", archive, f"{folder}/unpacked")
        rmtree(target, ignore_errors=True)
        Path(folder, "unpacked").rename(target)


def image_archives() -> list[Path]:
    """The archives that every node loads at its first start: the pause container and busybox."""
    return [_made_once("pause", _make_pause), _made_once("busybox", _make_busybox)]


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The archive `name` of the cache; of many who ask at the same time one makes it and the others wait."""
    archive = cache() / f"{name}.tar"
    if not archive.exists():
        with locked(cache() / f"{name}.lock", f"builds the image {name}"):
            if not archive.exists():
                make(archive)
    return archive


def _make_pause(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run("gcc", "-static", "-Os", "-o", f"{folder}/pause", HERE / "pause.c")
        _image(Path(folder), PAUSE, 'COPY pause /pause\nENTRYPOINT ["/pause"]\n', archive)


def _make_busybox(archive: Path) -> None:
    program = unpacked("busybox-static", "bin/busybox")
    with tempfile.TemporaryDirectory() as folder:
        copy(program, f"{folder}/busybox")
        steps = 'COPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\nCMD ["sh"]\n'
        _image(Path(folder), BUSYBOX, steps, archive)


def _image(folder: Path, name: str, steps: str, archive: Path) -> None:
    say(f"building {name} ...")
    (folder / "Containerfile").write_text(f"FROM scratch\n{steps}")
    plain = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    run("buildah", "bud", "-q", "-t", name, "-f", folder / "Containerfile", folder, env=plain)
    partial = archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    run("buildah", "push", "-q", name, f"docker-archive:{partial}:{name}")
    partial.rename(archive)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
