"""What comes from Debian: packages that a node and the image builds need, and busybox for the tests' own image.

Packages are installed only where a command is missing. busybox is unpacked into the cache
instead: that changes nothing on the machine. The image archives built here (pause, busybox) are what the
nodes start with.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from shutil import copy, which

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
    packages = missing_packages()
    if not packages:
        return
    if os.getuid() != 0:
        raise ClusterError(
            f"the node tier needs these Debian packages: {' '.join(packages)}; install them as root"
        )
    say(f"installing {' '.join(packages)} ...")
    run("apt-get", "update", "-qq")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, env=quiet)


def unpacked(package: str, program: str) -> Path:
    """Path of `program` out of the Debian `package`, downloaded into the cache once."""
    target = cache() / "debian" / package
    if not (target / program).exists():
        say(f"unpacking {package} ...")
        with tempfile.TemporaryDirectory(dir=_made(target.parent)) as folder:
            run("apt-get", "download", "-q", package, cwd=Path(folder))
            archive = next(Path(folder).glob("*.deb"))
            run("dpkg-deb", "-x", archive, target)
    return target / program


def image_archives() -> list[Path]:
    """The archives that every node loads at its first start: the pause container and busybox."""
    return [_pause_archive(), _busybox_archive()]


def _pause_archive() -> Path:
    archive = cache() / "pause.tar"
    if not archive.exists():
        with tempfile.TemporaryDirectory() as folder:
            run("gcc", "-static", "-Os", "-o", f"{folder}/pause", HERE / "pause.c")
            _image(Path(folder), PAUSE, 'COPY pause /pause\nENTRYPOINT ["/pause"]\n', archive)
    return archive


def _busybox_archive() -> Path:
    archive = cache() / "busybox.tar"
    if not archive.exists():
        program = unpacked("busybox-static", "bin/busybox")
        with tempfile.TemporaryDirectory() as folder:
            copy(program, f"{folder}/busybox")
            steps = 'COPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\nCMD ["sh"]\n'
            _image(Path(folder), BUSYBOX, steps, archive)
    return archive


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
