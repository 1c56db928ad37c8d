"""Makes the table of the chart's values, for its README and for the docs, from the comments of values.yaml.

A comment above a key, or behind it, is what the key means; types and allowed values are those of values.schema.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from versions import version

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "asgd-operator"
KEY = re.compile(r"( *)([\w.]+):(?: (.*?))?(?: +# (.*))?$")
MADE = "Made from `values.yaml` and `values.schema.json` by `make generate`; do not edit."
HEAD = "| value | type | default | meaning |\n|---|---|---|---|\n"
README = """\
# asgd-operator

{description}. It installs the operator, the CRD `AsgdJob`, and, if asked for, monitors, alerts and a dashboard.
You need Kubernetes 1.33 or newer, and both images where your nodes find them.

```sh
helm install asgd asgd-operator-{version}.tgz --namespace asgd-system --create-namespace --wait \\
  --set image.repository=REGISTRY/asgd-operator --set jobs.trainerImage=REGISTRY/asgd-trainer:{version}
helm test asgd --namespace asgd-system
```

Upgrade with `helm upgrade --reset-then-reuse-values`: no running job is restarted, and the CRD goes along.
Uninstalling keeps the CRD and all jobs (`crds.keep`). Another release takes the CRD over with `--take-ownership`.

## Values

{made} An unknown or misspelt value is refused.

{table}"""
PAGE = """\
# Values of the chart

{made}
`helm show values charts/asgd-operator` shows the same with its comments. An unknown or misspelt value is refused.
[The guide](../operate.md) says when to set them.

{table}"""


def outputs() -> dict[Path, str]:
    """The chart's README and the page of the docs."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    said = {
        "made": MADE,
        "table": table(),
        "description": chart["description"].rstrip("."),
        "version": version(),
    }
    return {
        CHART / "README.md": README.format(**said),
        ROOT / "docs" / "reference" / "chart.md": PAGE.format(**said),
    }


def table() -> str:
    """A row for each value that can be set, and for each group that has a sentence."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load(text)
    rows = []
    for path, meaning in _commented(text):
        value, kind = values, schema
        for step in path:
            value, kind = value[step], kind.get("properties", {}).get(step, {})
        group = isinstance(value, dict) and bool(kind.get("properties"))
        if group and not meaning:
            continue
        default = "" if group else f"`{json.dumps(value)}`"
        cells = [f"`{'.'.join(path)}`", "" if group else _type(kind), default, meaning]
        rows.append(
            "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |\n"
        )
    return HEAD + "".join(rows)


def _commented(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path of a key, its comment), in the file's order."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        found = KEY.match(line)
        if line.lstrip().startswith("# "):
            comment.append(line.lstrip()[2:])
        elif found:
            indent = len(found[1])
            path = [*(step for step in path if step[0] < indent), (indent, found[2])]
            yield tuple(key for _, key in path), " ".join([*comment, *filter(None, [found[4]])])
            comment = []
        else:
            comment = []


def _type(kind: dict[str, Any]) -> str:
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    found = kind.get("type", "any")
    return " or ".join(found) if isinstance(found, list) else str(found)
