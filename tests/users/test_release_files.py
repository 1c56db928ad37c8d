"""`make release`: two builds of one commit have the same bytes, and each file is what users of it need."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from tools import archives, image_parts, sbom, versions

from asgd import __version__
from tests.chart.helm import helm
from tests.users.jobs import ROOT

COMMAND = [sys.executable, str(ROOT / "tools" / "release.py"), "--no-images"]


def build(target: Path, mask: int) -> None:
    """A release as another person would build it."""
    done = subprocess.run([*COMMAND, str(target)], capture_output=True, text=True, umask=mask)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    helm("version")  # skips where there is none
    folder = tmp_path_factory.mktemp("releases")
    build(folder / "one", 0o022)
    build(folder / "two", 0o077)
    return folder / "one", folder / "two"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_release_that_is_built_twice_has_the_same_checksums_and_each_file_is_what_it_is_for(
    releases: tuple[Path, Path],
) -> None:
    one, two = releases
    sums = (one / "SHA256SUMS").read_text()
    assert sums == (two / "SHA256SUMS").read_text()
    listed = dict(reversed(line.split()) for line in sums.splitlines())
    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in one.iterdir()
        if path.name != "SHA256SUMS"
    }

    (wheel,) = one.glob("*.whl")
    assert "-cp311-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert {"asgd/kernel/_kernel.abi3.so", "asgd/page/assets/page.html", "asgd_operator/main.py"} <= {*names}
    with tarfile.open(one / f"asgd_operator-{__version__}.tar.gz") as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"trainer/asgd/kernel/_codecs.h", "pyproject.toml", "LICENSE"} <= inside

    chart = one / f"asgd-operator-{__version__}.tgz"
    shown = yaml.safe_load(helm("show", "chart", chart))
    assert (shown["version"], shown["appVersion"]) == (__version__, __version__)
    assert shown["annotations"]["artifacthub.io/license"] == "Apache-2.0"
    assert "| `queue.workers` |" in helm("show", "readme", chart)

    objects = [found for found in yaml.safe_load_all((one / "install.yaml").read_text()) if found]
    kinds = [found["kind"] for found in objects]
    assert kinds[0] == "Namespace" and {"CustomResourceDefinition", "Deployment", "ClusterRole"} <= {*kinds}
    assert all(found["metadata"].get("namespace", "asgd-system") == "asgd-system" for found in objects)

    held = {}
    for image in ("slim", "trainer"):
        bom = json.loads((one / f"sbom-{image}.cdx.json").read_text())
        assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
        held[image] = {component["name"] for component in bom["components"]}
    assert {"kopf", "numpy", "pyzmq", "aiohttp"} <= held["slim"] and "torch" not in held["slim"]
    assert {"torch", "numpy"} <= held["trainer"] and "kopf" not in held["trainer"]
    assert (one / "NOTES.md").read_text().startswith(f"# asgd-operator {__version__}\n\n### New")


def test_an_archive_has_the_same_bytes_whoever_packed_it_and_when(tmp_path: Path) -> None:
    packed = []
    for number, names in enumerate((["b.py", "a.sh"], ["a.sh", "b.py"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
            os.utime(folder / name, (number * 1000, 10**9 + number))
        (folder / "a.sh").chmod(0o755 if number else 0o700)
        with tarfile.open(tmp_path / f"{number}.tgz", "w:gz") as tar:
            for name in names:
                tar.add(folder / name, name)
        with zipfile.ZipFile(tmp_path / f"{number}.whl", "w") as wheel:
            for name in names:
                wheel.write(folder / name, name)
        for suffix in ("tgz", "whl"):
            archives.repack(tmp_path / f"{number}.{suffix}", 1_700_000_000)
        packed.append([(tmp_path / f"{number}.{suffix}").read_bytes() for suffix in ("tgz", "whl")])
    assert packed[0] == packed[1]
    with tarfile.open(tmp_path / "0.tgz") as tar:
        assert [(m.name, m.mode, m.mtime) for m in tar] == [
            ("a.sh", 0o755, 1_700_000_000),
            ("b.py", 0o644, 1_700_000_000),
        ]


def test_the_version_is_written_from_one_place_to_every_other() -> None:
    places = versions.outputs()
    assert versions.version() == __version__
    assert {path: text for path, text in places.items() if path.read_text() != text} == {}
    for path, text in places.items():
        assert __version__ in text, path


def test_an_image_s_list_names_the_extras_that_its_dockerfile_installs() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM builder AS (\w+)-builder\n(.*?)(?=^FROM)", text, re.M | re.S))
    assert {image: re.findall(r"--extra (\w+)", stage) for image, stage in stages.items()} == sbom.IMAGES


def test_what_else_an_image_holds_joins_its_list_and_changes_its_number() -> None:
    root = {"name": "asgd-operator/slim", "version": "1"}
    before = json.dumps({"components": [{"name": "msgspec"}], "metadata": {"component": root}})
    entry = "Package: libc6\nArchitecture: amd64\nVersion: 2.41-12+deb13u5\nDescription: C\n Version: no\n"
    names = ("msgspec-0.22.0", "pip-26.3", "asgd_operator-0.1.0")
    paths = [f"opt/asgd/lib/python3.13/site-packages/{name}.dist-info/METADATA" for name in names]
    texts = [sbom.with_found(before, *held) for held in ((entry, paths), (f"{entry}\n", paths), ("", ()))]
    full, same, plain = map(json.loads, texts)
    assert full == same
    assert [found["name"] for found in full["components"]] == ["msgspec", "pip", "libc6"]
    assert [found["purl"] for found in full["components"][1:]] == [
        "pkg:pypi/pip@26.3",
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u5?arch=amd64",
    ]
    assert plain["components"] == [{"name": "msgspec"}] and plain["serialNumber"] != full["serialNumber"]


def packed(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def test_an_image_is_what_its_layers_leave_and_more_than_allowed_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = "opt/asgd/lib/python3.13/site-packages"
    layers = {
        "a.tar": packed({"./usr/lib/python3.13/os.py": b"1" * 700, "./old/x": b"2" * 10**7, "./etc/a": b"3"}),
        "b.tar": packed(
            {
                ".wh.old": b"",
                "etc/a": b"newer",
                f"{packages}/numpy.libs/blas.so": b"4" * 2_000_000,
                f"{packages}/numpy-2.5.dist-info/RECORD": b"5" * 500_000,
                f"{packages}/asgd_operator/run.py": b"6" * 1_100_000,
            }
        ),
    }
    archive = tmp_path / "image.tar"
    archive.write_bytes(packed({"manifest.json": json.dumps([{"Layers": [*layers]}]).encode(), **layers}))
    assert image_parts.text(archive, "etc/a") == "newer"
    assert image_parts.parts(image_parts.sizes(archive)) == {
        "numpy": 2_500_000,
        "this project": 1_100_000,
        "Python and its standard library": 700,
        "rest of Debian": 5,
    }
    assert image_parts.main(str(archive), "3600705") == 0
    assert "| numpy | 2.5 |\n| this project | 1.1 |\n| 2 smaller parts | 0.0 |" in capsys.readouterr().out
    assert image_parts.main(str(archive), "3600704") == 1
    assert "unpacks to 3.6 MB, at most 4 MB are allowed" in capsys.readouterr().err
