"""Settings come from a file and from variables over it; what is not known is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd_operator import settings


def test_without_a_file_all_settings_have_defaults() -> None:
    found = settings.load(None, {"HOME": "/"})
    assert (found.port, found.watch.nodes, found.leader_election.enabled) == (8080, True, False)


def test_variables_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("port: 9000\nwatch: {namespaces: [a], nodes: true}\n")
    variables = {"ASGD_OPERATOR_WATCH__NODES": "false", "ASGD_OPERATOR_QUEUE__RESYNC_SECONDS": "5"}
    found = settings.load(file, variables)
    assert (found.port, found.watch.namespaces, found.watch.nodes) == (9000, ("a",), False)
    assert found.pace().resync == 5


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ASGD_OPERATOR_PORTT", "1", "portt"),
        ("ASGD_OPERATOR_WATCH__NODE", "true", "node"),
        ("ASGD_OPERATOR_PORT", "many", "int"),
        ("ASGD_OPERATOR_QUEUE__WORKERS", "0", ">= 1"),
        ("ASGD_OPERATOR_LOGGING__FORMAT", "xml", "xml"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(name: str, value: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}: .*{says}"):
        settings.load(None, {name: value})


def test_the_effective_settings_can_be_read_back() -> None:
    assert '"resyncSeconds":600' in settings.load(None).describe()
