"""The docs as a site: every link leads somewhere, and no page asks the internet for anything."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.users.jobs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ASKED_FOR = re.compile(r'<(?:script|img|iframe|source|link)\b[^>]* (?:src|href)="?(?:https?:)?//[^>]*>')


def python() -> str:
    """One that has MkDocs: this one, or that of `make docs`."""
    if importlib.util.find_spec("mkdocs"):
        return sys.executable
    beside = ROOT / ".venv-docs" / "bin" / "python"
    if not beside.exists() and not os.environ.get("CI"):
        pytest.skip("no MkDocs: run `make docs` once")
    return str(beside)


def build(folder: Path, into: Path) -> subprocess.CompletedProcess[str]:
    """`mkdocs build --strict` of a tree that has docs/ and mkdocs.yml. NB: `--quiet` would let every warning pass."""
    words = [python(), "-m", "mkdocs", "build", "--strict", "--site-dir", str(into)]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("site")
    built = build(ROOT, into)
    assert built.returncode == 0, built.stderr
    return into


def test_the_site_is_built_without_a_warning_and_asks_no_other_machine_for_anything(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 100
    asking = {page.name: found[0] for page in pages if (found := ASKED_FOR.search(page.read_text()))}
    assert asking == {}
    styles = "".join(css.read_text() for css in site.rglob("*.css"))
    assert re.findall(r"url\(\"?(?:https?:)?//[^)]*", styles) == []
    assert "asynchronous" in (site / "search" / "search_index.js").read_text()


def test_each_alert_leads_to_its_section_of_the_runbook(site: Path) -> None:
    groups = yaml.safe_load((ROOT / "charts/asgd-operator/files/alerts.yaml").read_text())["groups"]
    text = (site / "reference" / "runbook.html").read_text()
    for rule in (rule for group in groups for rule in group["rules"]):
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "RUNBOOK" and f'id="{anchor}"' in text, rule["alert"]


def test_links_to_no_file_and_to_no_section_fail_the_build(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "docs" / "decisions").mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "assets", tmp_path / "docs" / "assets")
    shutil.copy(ROOT / "tools" / "docs_site.py", tmp_path / "tools")
    settings = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(
        settings + "\nnav: [index.md, page.md, changelog.md, contributing.md]\n"
    )
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        (tmp_path / name).write_text("# One\n\n[a page](docs/page.md#two), [this](mkdocs.yml)\n")
    page = tmp_path / "docs" / "page.md"
    page.write_text("# One\n\n## Two\n\n[home](../README.md#one), [all](decisions)\n")
    assert build(tmp_path, tmp_path / "site").returncode == 0
    assert (tmp_path / "site" / "source" / "mkdocs.yml.html").exists()

    page.write_text(
        "# One\n\n## Two\n\n[a](../no-such-file), [b](page.md#no-such), [c](../README.md#nor-such)\n"
    )
    refused = build(tmp_path, tmp_path / "site")
    assert refused.returncode == 1
    for words in ("docs/page.md links to ../no-such-file, which is not there", "#no-such", "#nor-such"):
        assert words in refused.stderr
