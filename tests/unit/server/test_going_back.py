"""Which save a server goes back to, and what becomes of later ones and of what is kept in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asgd.errors import UserError
from asgd.server.rollback import Rollback
from asgd.server.saves.choosing import locate
from asgd.server.saves.in_memory import Kept
from asgd.server.saves.restore import find
from asgd.server.saves.store import Store
from asgd.server.saving import Restored
from tests.unit.server.test_checkpoint import numbers, write
from tests.unit.server.test_whole_saves import flip, job, part


def goes_back(folder: Path, save: int, kept: Kept | None = None, number: int = 1) -> Restored:
    found = find(job(), 0, "run", Store(str(folder)), kept, Rollback(number, save, 1, 99, 99))
    assert found is not None
    return found


def test_it_is_the_named_save_although_there_are_later_ones_and_newer_copies_in_memory(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path))
    for number in (1, 2, 3):
        write(store, number, 1, run="run")
    kept = Kept("run", -5, 17, "layout", {"version": 1000}, None, {})
    found = goes_back(tmp_path, 2, kept)
    assert (found.number, found.rollbacks) == (2, 1)
    assert found.arrays["weights"].tolist() == numbers("weights", 2).tolist()


def test_what_is_damaged_is_skipped_for_an_older_one_and_said(tmp_path: Path) -> None:
    for number in (1, 2):
        write(Store(str(tmp_path)), number, 1, run="run")
    flip(part(tmp_path, 2), -1)
    found = goes_back(tmp_path, 2)
    assert found.number == 1
    assert "checkpoint 000002 is not whole and is skipped" in found.skipped


def test_where_none_is_whole_the_sentence_says_so(tmp_path: Path) -> None:
    write(Store(str(tmp_path)), 1, 1, run="run")
    flip(part(tmp_path, 1), -1)
    with pytest.raises(UserError, match="shard 0 has no whole checkpoint up to 000001 to go back to"):
        goes_back(tmp_path, 1)


def test_later_saves_do_not_exist_any_more_and_their_numbers_stay_taken(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in (1, 2, 3):
        write(store, number, 1, run="run")
    store.undo(1, 1)
    assert store.saves() == [1, 2, 3], "they are shard 0's to undo"
    store.undo(1, 0)
    assert (store.saves(), store.begun()) == ([1], [1, 2, 3])
    found = locate(store, "Latest", "run")
    assert found is not None and found[2].save == 1


def test_a_save_that_is_spared_survives_newer_ones(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in (1, 2, 3, 4, 5):
        write(store, number, 1)
    store.prune(2, spared={2})
    assert store.saves() == [2, 4, 5]


@pytest.mark.parametrize(("run", "rollbacks"), [("run", 2), ("another", 0)])
def test_a_restart_in_the_same_run_goes_on_at_the_rate_that_is_left_and_another_run_begins_with_the_job_files(
    tmp_path: Path, run: str, rollbacks: int
) -> None:
    store = Store(str(tmp_path))
    manifest = write(store, 1, 1, run="run")
    manifest.rollbacks = 2
    store.write_manifest(manifest)
    found = find(job(), 0, run, store, None)
    assert found is not None and found.rollbacks == rollbacks


def test_of_a_copy_in_memory_and_a_save_the_one_after_more_rollbacks_is_the_newer(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    manifest = write(store, 1, 1, run="run")
    manifest.rollbacks = 1
    store.write_manifest(manifest)

    def number(meta: dict[str, Any]) -> int:
        kept = Kept("run", -5, 17, "layout", {"version": 1000} | meta, None, {})
        found = find(job(), 0, "run", store, kept)
        assert found is not None
        return found.number

    assert number({}) == 1, "it is of before"
    assert number({"rollbacks": 1}) == -5
    assert replace(goes_back(tmp_path, 1), back=None).rollbacks == 1
