"""Summary, history and comparison take equally named fields from the status: what has one name is one thing."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Struct

from asgd.report.compared import Compared
from asgd.report.fields import taken
from asgd.report.labels import Named
from asgd.report.lines import Progress, Run
from asgd.report.summary import Summary
from asgd.spec.status import Status

OTHERS = {
    (Summary, Status): {"workers", "shards", "rejected_workers"},
    (Status, Summary): {"workers", "shards", "rejected_workers"},
    (Progress, Status): {"workers", "refused"},
    (Run, Status): set(),
    (Compared, Summary): set(),
    (Compared, Progress): set(),
    (Named, Compared): set(),
}
"""{(what is made, from what): fields of one name that are other things, or may lack a value, and are given apart}"""


@pytest.mark.parametrize(("kind", "source"), OTHERS)
def test_fields_of_one_name_are_of_one_type(kind: type[Struct], source: type[Struct]) -> None:
    made, given = ({f.name: f.type for f in msgspec.structs.fields(one)} for one in (kind, source))
    differ = {name for name in set(made) & set(given) if made[name] != given[name]}
    assert differ <= OTHERS[kind, source]


def test_own_values_win_over_those_of_the_source() -> None:
    status = Status(job="digits", algorithm="asgd", phase="running", updates=7, samples=70, lost_updates=2)
    line = taken(Progress, status, t=1.5, samples=71, workers=3)
    assert (line.t, line.updates, line.samples, line.lost_updates, line.workers) == (1.5, 7, 71, 2, 3)
