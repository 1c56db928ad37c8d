"""Archives whose bytes follow from their content: sorted, one time for all, owned by nobody.

Builders write when they ran and in which order the file system lists; two builds of one commit would differ by that.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

EXECUTABLE = 0o111


def repack(path: Path, epoch: int) -> None:
    """Writes a .tar.gz, .tgz or .whl again in its place; all its files are of the second `epoch` (Unix)."""
    made = _wheel if path.suffix == ".whl" else _tar
    made(path, epoch)


def extract(archive: bytes, into: Path, keep: Callable[[str], bool] = lambda _: True) -> None:
    """The files of a tar archive for which `keep(name)` holds."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, [member for member in tar if keep(member.name)], filter="data")


def _tar(path: Path, epoch: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted((m for m in old if m.isfile()), key=lambda m: m.name):
            info = tarfile.TarInfo(member.name)
            info.size, info.mtime = member.size, epoch
            info.mode = 0o755 if member.mode & EXECUTABLE else 0o644
            new.addfile(info, old.extractfile(member))
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=epoch) as zipped:
        zipped.write(packed.getvalue())


def _wheel(path: Path, epoch: int) -> None:
    from time import gmtime

    with zipfile.ZipFile(path) as old:
        members = [(info, old.read(info)) for info in sorted(old.infolist(), key=_metadata_last)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, content in members:
            info = zipfile.ZipInfo(member.filename, max(gmtime(epoch)[:6], (1980, 1, 1, 0, 0, 0)))
            mode = 0o755 if member.external_attr >> 16 & EXECUTABLE else 0o644
            info.external_attr, info.compress_type = (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
            new.writestr(info, content)


def _metadata_last(info: zipfile.ZipInfo) -> tuple[bool, str]:
    """Installers read .dist-info from a wheel's end."""
    return ".dist-info/" in info.filename, info.filename
