"""Refreshes uPlot (MIT), the one library of the page: `python tools/uplot.py [VERSION]`, with npm.

It is kept in the tree with its licence, so that neither a build nor a page needs a network.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "trainer" / "asgd" / "page" / "assets" / "uplot"
FILES = {
    "dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "dist/uPlot.min.css": "uPlot.min.css",
    "LICENSE": "LICENSE",
}
VERSION = "1.6.32"


def main(version: str = VERSION) -> None:
    """Fetches `version` from the npm registry."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", f"uplot@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            for member, name in FILES.items():
                found = package.extractfile(f"package/{member}")
                assert found is not None
                (TARGET / name).write_bytes(found.read())
    print(f"uplot {version} in {TARGET}")


if __name__ == "__main__":
    main(*sys.argv[1:])
