"""docs/operate.md against the chart: every right has a row and every row is a right; commands name what there is."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.chart.helm import CHART, Values, template

ROOT = CHART.parents[1]
GUIDE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
EVERYTHING: Values = {
    "leaderElection": {"enabled": True},
    "jobs": {"podMonitor": {"enabled": True}, "podGroups": {"enabled": True}},
}
Rights = dict[str, set[str]]


def granted(objects: list[dict[str, Any]], role: str) -> Rights:
    """{resource with its group: verbs} of the operator (`role` empty) or of a role for users."""
    found: Rights = {}
    for item in objects:
        if item["kind"] not in ("Role", "ClusterRole"):
            continue
        if "jobs-client" in item["metadata"]["name"]:
            continue  # it stands in docs/how-to/kubectl.md
        if ("jobs-viewer" in item["metadata"]["name"]) != (role == "view"):
            continue
        if ("jobs-editor" in item["metadata"]["name"]) != (role == "edit, admin"):
            continue
        for rule in item["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    prefix = f"{group}/" if group and not role else ""
                    found.setdefault(prefix + resource, set()).update(rule["verbs"])
    return found


def section(title: str) -> list[list[str]]:
    text = GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_right_of_the_operator_stands_in_the_guide_with_a_reason_and_no_other_does() -> None:
    rows = [row for row in section("RBAC") if row[0].startswith("`")]
    assert all(why for _, _, why in rows)
    written = {resource.strip("`"): set(verbs.split(", ")) for resource, verbs, _ in rows}
    assert written == granted(template(EVERYTHING), "")


def test_the_rights_of_users_stand_in_the_guide() -> None:
    rows = [row for row in section("RBAC") if row[0] in ("view", "edit, admin")]
    for role in ("view", "edit, admin"):
        written: Rights = {}
        for named, resources, verbs in rows:
            for resource in re.findall(r"`([\w/]+)`", resources) if named == role else ():
                written.setdefault(resource, set()).update(verbs.split(", "))
        assert written == granted(template(), role)


def test_commands_and_links_of_the_guide_name_what_there_is() -> None:
    names = {item["metadata"]["name"] for item in template()}
    assert set(re.findall(r"(?:deployment|services)/(asgd-asgd-operator)", GUIDE)) <= names
    for path in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", GUIDE):
        assert path.startswith("http") or (ROOT / "docs" / path).exists(), path
    for path in re.findall(r"(?:charts|crds)/[\w./-]+", GUIDE):
        assert (ROOT / path).exists(), path
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for setting in re.findall(r"--set '?([\w.]+)=", GUIDE):
        found: Any = values
        for step in setting.split("."):
            found = found[step]
