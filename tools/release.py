"""Builds a release of the newest commit into a folder: `make release`.

Wheel and sdist, chart, install.yaml, an SBOM of each image, notes, both images where buildah is, and checksums. All of
it is built from the files of the commit, in a folder of their own, so that nothing else of this machine gets in. Two
builds have the same bytes. Images hold packages of Debian as they are on the day, so they have checksums of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import image_parts
import sbom
from archives import extract, repack
from versions import version

ROOT = Path(__file__).resolve().parent.parent
CHART = Path("charts") / "asgd-operator"
NAMESPACE, KUBERNETES = "asgd-system", "1.34"
INSTALL_HEAD = """\
# asgd-operator {version}: namespace, CRD and operator, with the chart's default values.
#   kubectl apply --server-side -f install.yaml
# Again with a newer file upgrades it. To remove it and keep all jobs, delete all but the CRD: docs/operate.md.
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
"""


class Missing(Exception):
    """A program that a release needs is not there."""


class Builder:
    """One release: `source` are the files of the commit, `target` gets what is built."""

    def __init__(self, source: Path, target: Path, registry: str) -> None:
        self.source, self.target, self.registry = source, target, registry
        self.epoch = int(_said("git", "-C", ROOT, "log", "-1", "--format=%ct"))
        self.version = version()

    def all(self, images: bool) -> None:
        """Everything. `images`: also both images, if buildah is there."""
        self.python()
        self.chart()
        self.manifests()
        self.boms()
        (self.target / "NOTES.md").write_text(notes((self.source / "CHANGELOG.md").read_text(), self.version))
        checksums(self.target, "SHA256SUMS")
        if images:
            self.images()

    def python(self) -> None:
        """Wheel and sdist."""
        locked = re.search(
            r'^name = "setuptools"\nversion = "(.+)"', (self.source / "uv.lock").read_text(), re.M
        )
        assert locked is not None
        pinned = self.source / "build-constraints.txt"
        pinned.write_text(f"setuptools=={locked[1]}\n")
        flags = f"{os.environ.get('CFLAGS', '')} -g0 -ffile-prefix-map={self.source}=."
        where = ("--out-dir", self.target, "--build-constraints", pinned)
        self._run(uv(), "build", "--quiet", "--python", sys.executable, *where, CFLAGS=flags)
        (self.target / ".gitignore").unlink(missing_ok=True)
        for path in (*self.target.glob("*.whl"), *self.target.glob("*.tar.gz")):
            repack(path, self.epoch)

    def chart(self) -> None:
        """The archive that `helm install` takes."""
        self._run(helm(), "lint", "--strict", "--quiet", CHART)
        self._run(helm(), "package", CHART, "--destination", self.target, stdout=subprocess.DEVNULL)
        repack(self.target / f"asgd-operator-{self.version}.tgz", self.epoch)

    def manifests(self) -> None:
        """install.yaml: the chart as plain manifests."""
        words = ["asgd", CHART, "--namespace", NAMESPACE, "--skip-tests", "--kube-version", KUBERNETES]
        if self.registry:
            words += ["--set", f"image.repository={self.registry}/asgd-operator"]
            words += ["--set", f"jobs.trainerImage={self.registry}/asgd-trainer:{self.version}"]
        made = self._run(helm(), "template", *words, stdout=subprocess.PIPE)
        head = INSTALL_HEAD.format(version=self.version, namespace=NAMESPACE)
        (self.target / "install.yaml").write_text(head + made)

    def boms(self) -> None:
        """What is in the images, in CycloneDX."""
        for image, extras in sbom.IMAGES.items():
            words = [word for extra in extras for word in ("--extra", extra)]
            locked = (
                "export",
                "--quiet",
                "--frozen",
                "--no-dev",
                "--no-emit-project",
                "--format",
                "cyclonedx1.5",
            )
            told = self._run(uv(), *locked, *words, stdout=subprocess.PIPE)
            (self.target / f"sbom-{image}.cdx.json").write_text(
                sbom.of_image(told, image, self.version, self.epoch)
            )

    def images(self) -> None:
        """Both images as archives, each with its SBOM, and checksums; a sentence where buildah is missing."""
        if shutil.which("buildah") is None:
            print("images are left out: buildah is not installed (apt-get install buildah)")
            return
        folder = self.target / "images"
        folder.mkdir()
        built = self._run("tools/build_images.sh", *sbom.IMAGES, stdout=subprocess.PIPE)
        for target, line in zip(sbom.IMAGES, built.splitlines(), strict=True):
            archive = Path(shutil.copy(line.split()[1], folder))
            packages = (self.target / f"sbom-{target}.cdx.json").read_text()
            debian, files = image_parts.text(archive, "var/lib/dpkg/status"), image_parts.sizes(archive)
            archive.with_suffix(".cdx.json").write_text(sbom.with_found(packages, debian, files))
        checksums(folder, "SHA256SUMS")

    def _run(self, *words: str | Path, stdout: int | None = None, **environ: str) -> str:
        known = {"SOURCE_DATE_EPOCH": str(self.epoch), "VERSION": self.version, **environ}
        done = subprocess.run(
            words, cwd=self.source, env={**os.environ, **known}, stdout=stdout, text=True, check=True
        )
        return done.stdout or ""


def main() -> int:
    """Exit codes: 0 built, 1 a program is missing or has failed."""
    parser = argparse.ArgumentParser(description="Builds a release of the newest commit.")
    parser.add_argument("target", type=Path, help="folder for it; what is there is removed")
    parser.add_argument("--no-images", action="store_true", help="without the images")
    parser.add_argument(
        "--registry", default="", help="where install.yaml finds the images, as registry.example/team"
    )
    options = parser.parse_args()
    try:
        release(options.target, options.registry, images=not options.no_images)
    except Missing as missing:
        print(f"release: {missing}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"release: {failed.cmd[0]} ended with exit code {failed.returncode}", file=sys.stderr)
        return 1
    return 0


def release(target: Path, registry: str = "", *, images: bool) -> None:
    """Builds it into `target`, anew. Raises Missing, CalledProcessError."""
    uv(), helm()
    if _said("git", "-C", ROOT, "status", "--porcelain"):
        print("note: what is not committed is not in the release")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="asgd-release-") as folder:
        files = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, capture_output=True).stdout
        extract(files, Path(folder))
        builder = Builder(Path(folder), target.resolve(), registry)
        builder.all(images)
    print(f"asgd-operator {builder.version} in {target}:")
    print(
        "".join(f"  {path.relative_to(target)}\n" for path in sorted(target.rglob("*")) if path.is_file()),
        end="",
    )


def notes(changelog: str, version: str) -> str:
    """The part of a changelog that is about `version`; of one that has none yet, what is unreleased."""
    parts = re.split(r"^## ", changelog, flags=re.M)[1:]
    named = {part.partition("\n")[0].split()[0].lstrip("v"): part.partition("\n")[2] for part in parts}
    return f"# asgd-operator {version}\n\n{named.get(version, named.get('Unreleased', '')).strip()}\n"


def checksums(folder: Path, name: str) -> None:
    """A file for `sha256sum --check` over all files of a folder."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != name)
    (folder / name).write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in paths))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def uv() -> Path:
    """Where uv is."""
    return _program("uv", ROOT / ".tools" / "bin" / "uv", "install it, or run `make run` once")


def helm() -> Path:
    """Where Helm is."""
    cache = Path(os.environ.get("ASGD_CLUSTER_CACHE") or Path.home() / ".cache" / "asgd-cluster")
    return _program("helm", cache / "bin" / "helm", "install it, or run `make cluster-api`, which builds it")


def _program(name: str, else_at: Path, advice: str) -> Path:
    found = os.environ.get(name.upper()) or shutil.which(name) or (else_at if else_at.exists() else None)
    if not found:
        raise Missing(f"{name} is missing: {advice}")
    return Path(found).absolute() if "/" in str(found) else Path(shutil.which(str(found)) or found)


def _said(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
