"""docs/reference/state.md lists every attribute of what a server decides with, and what a restart does to it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asgd.server.core import ServerCore
from asgd.server.saves.in_process import MemoryStore
from asgd.server.saving import StoreFacts
from tests.checks.virtual import job
from tests.unit.server.peers import push, ready_shard, reborn

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "state.md"
FATES = {"saved", "given", "told", "lost"}


def tables() -> dict[str, dict[str, str]]:
    """{class: {attribute: fate}}, as the page says."""
    found: dict[str, dict[str, str]] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title = re.search(r"^`([\w.]+:\w+)`$", section, re.MULTILINE)
        assert title, section
        rows = re.findall(r"^\| (`.+`) \| (\w+) \| .+\. \|$", section, re.MULTILINE)
        named = [(name, fate) for names, fate in rows for name in re.findall(r"`(\w+)`", names)]
        assert len(dict(named)) == len(named), f"{title[1]}: an attribute stands there twice"
        found[title[1]] = dict(named)
    return found


def objects() -> Iterator[Any]:
    """One of each, in a job whose strategy works in rounds and asks an oracle."""
    spec = job(algorithm={"name": "zeno"}, stopAfter={"updates": 9}, parameterServer={"shards": 2})
    for index in range(2):
        core = ServerCore(spec, index, MemoryStore().claim_term(index), store=StoreFacts("memory:"))
        core.shard.allocate(6, "layout")
        yield from (core, core.shard, core.shard.state, core.saving)
        assert core.rounds is not None
        yield core.rounds.part
        if core.primary:
            core.primary.coordinator.describe_data(8, "", b"")
            yield from (core.primary, core.primary.collecting, core.rounds.table, core.rounds.inquiry)
            coordinator = core.primary.coordinator
            yield from (coordinator, coordinator.pool, coordinator.roster, coordinator.evaluator)
        else:
            yield core.participant


def attributes(thing: Any) -> set[str]:
    if dataclasses.is_dataclass(thing):
        return {field.name for field in dataclasses.fields(thing)}
    return set(vars(thing))


def test_the_page_names_every_attribute_and_no_other() -> None:
    told, seen = tables(), set()
    for thing in objects():
        names = [f"{kind.__module__}:{kind.__name__}" for kind in type(thing).__mro__]
        title = next(name for name in names if name in told)
        seen.add(title)
        scratch = (
            {"_decoded"} if title.endswith("Parameters") else set()
        )  # memory that any call may overwrite
        assert attributes(thing) - scratch == told[title].keys(), title
    assert seen == told.keys()


def test_each_fate_is_one_of_four() -> None:
    assert {fate for table in tables().values() for fate in table.values()} == FATES


@pytest.mark.parametrize(
    "attribute", ["seen", "histogram", "refused", "losses", "version", "samples", "facts"]
)
def test_what_is_said_to_be_saved_comes_back(attribute: str) -> None:
    shard = ready_shard(5)
    push(shard, 0, 1, np.ones(5, np.float32))
    shard.refused["norm"] = 3
    shard.losses.began(1, 2, 8)
    shard.losses.told(0, 8, 64)
    shard.state.facts = {"rounds": 7}
    later = reborn(shard, 2)
    before: dict[str, Any] = {"losses": (shard.losses.updates, shard.losses.samples)}
    after: dict[str, Any] = {"losses": (later.losses.updates, later.losses.samples)}
    for values, of in ((before, shard), (after, later)):
        values |= {name: getattr(of, name) for name in ("seen", "histogram", "refused")}
        values |= {name: getattr(of.state, name) for name in ("version", "samples", "facts")}
    assert before[attribute] == after[attribute] and before[attribute]
