"""Writes what is made: from the CRD the loader's JSON, the reference and the chart's CRD; from `asgd.spec` its tables;
from the code that serves metrics theirs; from `dashboards` those for Grafana; the pictures of docs/concepts.md; from
pyproject.toml the version wherever else it stands.

`make generate` writes, `make lint` calls it with `--check` and fails when a committed file is out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import chart_values
import command_line
import commands
import concepts
import dashboards
import exposition
import python_api
import records
import versions
import yaml
from reference import environment, page

ROOT = Path(__file__).resolve().parent.parent
BOARDS = ROOT / "charts/asgd-operator/files/dashboards"
CRD = ROOT / "crds" / "asgdjobs.asgd.dev.yaml"


def outputs() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    crd = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    return {
        ROOT / "trainer/asgd/spec/crd.json": json.dumps(crd, separators=(",", ":")) + "\n",
        ROOT / "docs/reference/asgdjob.md": page(crd),
        ROOT / "docs/reference/environment.md": environment(),
        ROOT / "docs/reference/kubectl.md": commands.page(),
        ROOT / "docs/reference/metrics.md": exposition.page(),
        ROOT / "docs/reference/status.md": records.page(),
        ROOT / "charts/asgd-operator/templates/crd.yaml": chart_crd(CRD.read_text(encoding="utf-8")),
        **{BOARDS / name: text for name, text in dashboards.files().items()},
        ROOT / "docs/reference/cli.md": command_line.page(),
        ROOT / "docs/reference/python.md": python_api.page(),
        **chart_values.outputs(),
        **concepts.outputs(),
        **versions.outputs(),
    }


def chart_crd(text: str) -> str:
    """The CRD as a template of the chart: optional, and kept with all jobs when the release goes."""
    name = "metadata:\n  name: asgdjobs.asgd.dev\n"
    keep = "  {{- if .Values.crds.keep }}\n  annotations: {helm.sh/resource-policy: keep}\n  {{- end }}\n"
    if text.count(name) != 1 or "{{" in text:
        raise ValueError("the CRD no longer has the form that the chart's copy is made from")
    made = "{{/* Made by tools/generate.py from crds/. */}}\n{{- if .Values.crds.enabled }}\n"
    return f"{made}{text.replace(name, name + keep)}{{{{- end }}}}\n"


def main() -> int:
    stale = [
        (path, text)
        for path, text in outputs().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is out of date: run `make generate`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
