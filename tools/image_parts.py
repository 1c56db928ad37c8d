"""What is in an image: `python tools/image_parts.py ARCHIVE [LIMIT_BYTES]` prints a table of its parts.

It reads the archives that `tools/build_images.sh` writes. Exit codes: 0; 1 the files take more than LIMIT_BYTES.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

SHOWN_BYTES = 1_000_000
"""Smaller parts are counted together."""
PROJECT = {"asgd", "asgd_operator"}
OWNERS = {"_cffi_backend": "cffi", "_yaml": "pyyaml", "yaml": "pyyaml", "zmq": "pyzmq", "attr": "attrs"}
"""{name in site-packages: package that brings it}, where they differ."""
_MEMBER = re.compile(r"^opt/asgd/lib/python3[.\d]*/site-packages/(?:__pycache__/)?([^/.]+)")
_WHITEOUT = ".wh."


def layers(archive: Path) -> Iterator[tarfile.TarFile]:
    """The layers of a docker archive, the lowest first."""
    with tarfile.open(archive) as tar:
        (image,) = json.load(_open(tar, "manifest.json"))
        for name in image["Layers"]:
            with tarfile.open(fileobj=_open(tar, name), mode="r:") as layer:
                yield layer


def sizes(archive: Path) -> dict[str, int]:
    """{path: bytes} of all files that a container of the image sees."""
    found: dict[str, int] = {}
    for layer in layers(archive):
        for member in layer:
            path = member.name.removeprefix("./").removeprefix("/")
            folder, _, name = path.rpartition("/")
            if name.startswith(_WHITEOUT):
                gone = f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/")
                found = {k: v for k, v in found.items() if k != gone and not k.startswith(f"{gone}/")}
            elif member.isfile():
                found[path] = member.size
    return found


def text(archive: Path, path: str) -> str:
    """A file of the image; empty where it has none."""
    content = b""
    for layer in layers(archive):
        for member in layer:
            if member.name.removeprefix("./").removeprefix("/") == path and member.isfile():
                content = _open(layer, member).read()
    return content.decode("utf-8")


def parts(files: dict[str, int]) -> dict[str, int]:
    """{part: bytes}, the largest first."""
    found: dict[str, int] = {}
    for path, size in files.items():
        name = part_of(path)
        found[name] = found.get(name, 0) + size
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def part_of(path: str) -> str:
    """Which part of an image a file belongs to."""
    if inside := _MEMBER.match(path):
        name = re.sub(r"-[\d]+$", "", inside[1])
        return "this project" if name in PROJECT | {"asgd_operator"} else OWNERS.get(name, name)
    if re.match(r"usr/(bin|lib)/python3", path):
        return "Python and its standard library"
    return "Debian's libraries" if re.match(r"(usr/)?lib/.*\.so", path) else "rest of Debian"


def table(files: dict[str, int]) -> str:
    """A Markdown table: part, MB (10^6 bytes)."""
    found = parts(files)
    small = {name: size for name, size in found.items() if size < SHOWN_BYTES}
    rows = [(name, size) for name, size in found.items() if name not in small]
    rows.append((f"{len(small)} smaller parts", sum(small.values())))
    rows.append(("**all**", sum(found.values())))
    lines = [f"| {name} | {size / 1e6:.1f} |\n" for name, size in rows]
    return "| part | MB |\n|---|---|\n" + "".join(lines)


def main(archive: str, limit: str = "") -> int:
    files = sizes(Path(archive))
    print(table(files), end="")
    total = sum(files.values())
    if limit and total > int(limit):
        print(
            f"error: {archive} unpacks to {total / 1e6:.1f} MB, at most {int(limit) / 1e6:.0f} MB are allowed",
            file=sys.stderr,
        )
        return 1
    return 0


def _open(tar: tarfile.TarFile, member: str | tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None, member
    return file


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
