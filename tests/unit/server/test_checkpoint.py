"""Checkpoints: whole or not there at all, read back by any number of shards, and written by the newest server alone."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from asgd.errors import Fenced, TryAgain, UserError
from asgd.kernel import F32
from asgd.server.manifest import Manifest
from asgd.server.saves.choosing import locate
from asgd.server.saves.reading import assemble, read_range, read_state
from asgd.server.saves.saver import carry_out
from asgd.server.saves.store import Store
from asgd.server.saving import Publish
from asgd.wire.partition import Range, shard_range
from asgd.wire.reports import Part
from tests.checks.harness import asgd_spec
from tests.unit.server.peers import hello, make_shard, push, verdict

TENSORS: list[tuple[str, list[int]]] = [("a.weight", [3, 4]), ("a.bias", [4]), ("scale", [])]
SIZE = 17


@pytest.fixture(params=["local", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4()}"


def numbers(name: str, number: int) -> F32:
    """The whole array `name` of a save."""
    start = 1000 * number + {"weights": 0, "momentum": 100}[name]
    return np.arange(start, start + SIZE, dtype=np.float32)


def write(
    store: Store,
    number: int,
    shards: int,
    *,
    finish: bool = True,
    run: str = "",
    size: int = SIZE,
    rule: str = "",
) -> Manifest:
    """A save by `shards` shards, with momentum, as the savers and shard 0 write it."""
    parts = []
    for shard in range(shards):
        part = shard_range(size, shard, shards)
        arrays = {name: numbers(name, number)[part.start : part.stop] for name in ("weights", "momentum")}
        meta: dict[str, Any] = {
            "version": 10 * number + shard,
            "samples": 8,
            "seen": {"3": {"incarnation": 5}},
            "rule": rule,
        }
        if shard == 0:
            meta["job"] = {"updates": 10 * number}
        written = store.write_part(number, shard, shards, arrays, meta)
        written.start, written.stop = part.start, part.stop
        parts.append(written)
    manifest = Manifest(
        "job", number, 1, size, "layout", TENSORS, "asgd", 10 * number, 80 * number, parts, 0.0, run
    )  # fmt: skip
    if finish:
        assert carry_out(store, Publish(manifest, keep=100)).done
    return manifest


def read(store: Store, shard: int, shards: int, size: int = SIZE) -> tuple[dict[str, F32], dict[str, Any]]:
    found = locate(store, "Latest", "")
    assert found is not None
    fs, folder, manifest = found
    return read_range(fs, folder, manifest, shard_range(size, shard, shards))


# -- what comes back -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("saved", "restored"), [(1, 1), (2, 2), (1, 3), (3, 2), (3, 1), (2, 5), (5, 4)])
def test_weights_and_optimizer_state_come_back_on_any_number_of_shards(
    uri: str, saved: int, restored: int
) -> None:
    write(Store(uri), 1, saved)
    parts = [read(Store(uri), shard, restored) for shard in range(restored)]
    for name in ("weights", "momentum"):
        assert np.array_equal(np.concatenate([arrays[name] for arrays, _ in parts]), numbers(name, 1))
    for shard, (_, meta) in enumerate(parts):
        if saved == restored:
            assert meta["version"] == 10 + shard and "3" in meta["seen"]
        else:
            assert meta == {"version": 10, "samples": 80}
    fs, folder, manifest = locate(Store(uri), "Latest", "") or pytest.fail("nothing there")
    assert read_state(fs, folder, manifest) == {"updates": 10}


def test_whose_optimizer_the_arrays_are_of_comes_back_on_any_number_of_shards(uri: str) -> None:
    write(Store(uri), 1, 2, rule="AdamW")
    assert [read(Store(uri), shard, 3)[1]["rule"] for shard in range(3)] == ["AdamW"] * 3


def test_a_model_smaller_than_its_shards_comes_back_on_more_shards_still(uri: str) -> None:
    write(Store(uri), 1, 1, size=2)
    parts = [read(Store(uri), shard, 3, size=2)[0] for shard in range(3)]
    assert [arrays["weights"].size for arrays in parts] == [0, 1, 1]
    assert np.concatenate([arrays["momentum"] for arrays in parts]).tolist() == [1100, 1101]


def test_the_whole_model_comes_back_under_its_own_names_and_shapes(uri: str) -> None:
    store = Store(uri)
    manifest = write(store, 1, 3)
    found = assemble(store.fs, store.path("000001"), manifest)
    assert {name: list(array.shape) for name, array in found.items()} == dict(TENSORS)
    assert found["a.weight"].ravel().tolist() == list(range(1000, 1012))
    assert float(found["scale"]) == 1016


def test_the_safetensors_library_reads_our_files(tmp_path: Path) -> None:
    write(Store(str(tmp_path)), 1, 2)
    for shard in range(2):
        file = tmp_path / "000001" / f"shard-{shard}-of-2.safetensors"
        part = shard_range(SIZE, shard, 2)
        found = load_file(file)
        assert set(found) == {"weights", "momentum"}
        assert np.array_equal(found["weights"], numbers("weights", 1)[part.start : part.stop])
        with safe_open(file, "np") as opened:
            assert json.loads(opened.metadata()["asgd"])["version"] == 10 + shard


def test_a_restored_shard_goes_on_with_momentum_versions_and_dedup(uri: str) -> None:
    spec = asgd_spec(0.5, optimizer={"momentum": 0.5})
    write(Store(uri), 1, 2)
    arrays, meta = read(Store(uri), 1, 2)
    shard = make_shard(spec, index=1, shards=2, term=2)
    shard.restore(
        SIZE, "layout", arrays, meta | {"seen": {"3": {"incarnation": 5, "sequence": 4, "chunks": 1}}}
    )
    hello(shard, 3, 5, SIZE)
    vector = np.ones(9, np.float32)
    assert verdict(push(shard, 3, 4, vector, incarnation=5)) == "duplicate"
    assert verdict(push(shard, 3, 5, vector, incarnation=5, base=11)) == "applied"
    assert shard.state.weights[0] == 1008 - 0.5 * (0.5 * 1108 + 1)
    assert shard.state.version == 12


# -- whole or not at all ---------------------------------------------------------------------------------


def test_a_save_without_its_manifest_does_not_exist(uri: str) -> None:
    store = Store(uri)
    assert store.newest() is None and locate(store, "Latest", "") is None
    write(store, 1, 2)
    write(store, 2, 2, finish=False)
    newest = Store(uri).newest()
    assert newest is not None and newest.save == 1
    assert store.begun() == [1, 2] and store.saves() == [1]
    assert read(store, 0, 2)[0]["weights"][0] == 1000


def test_a_write_that_breaks_off_leaves_the_file_before_it_whole(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(uri)
    write(store, 1, 1)

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_move", full)
    with pytest.raises(TryAgain, match="No space left"):
        store.write_part(1, 0, 1, {"weights": np.full(SIZE, 7, np.float32)}, {"version": 99})
    with pytest.raises(TryAgain, match="No space left"):
        store.write_manifest(Manifest("job", 1, 1, SIZE, "", [], "", 99, 0, [], 0.0))
    arrays, meta = read(Store(uri), 0, 1)
    assert np.array_equal(arrays["weights"], numbers("weights", 1)) and meta["version"] == 10


def test_the_newest_saves_are_kept_and_unfinished_ones_before_them_go(uri: str) -> None:
    store = Store(uri)
    for number in range(1, 8):
        write(store, number, 1, finish=number not in (2, 5, 7))
    store.prune(3)
    assert store.begun() == [3, 4, 6, 7]
    assert store.saves() == [3, 4, 6]
    store.prune(1)
    assert store.begun() == [6, 7]


def test_before_the_first_complete_save_nothing_is_removed(uri: str) -> None:
    store = Store(uri)
    write(store, 1, 1, finish=False)
    store.prune(1)
    assert store.begun() == [1]


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    path.write_bytes(
        {
            "empty": b"",
            "cut in its length": data[:5],
            "cut in its header": data[:40],
            "cut in its data": data[:-1],
            "only its header": data[:length],
            "another format": b"PK\x03\x04" + data[4:],
            "a list": (2).to_bytes(8, "little") + b"[]",
            "numbers for entries": (9).to_bytes(8, "little") + b'{"a": 17}',
            "no state": (2).to_bytes(8, "little") + b"{}",
        }[how]
    )


@pytest.mark.parametrize(
    "how",
    [
        "empty", "cut in its length", "cut in its header", "cut in its data", "only its header", "another format",
        "a list", "numbers for entries", "no state",
    ],
)  # fmt: skip
def test_a_torn_file_is_named_in_one_sentence_and_never_restored(tmp_path: Path, how: str) -> None:
    store = Store(str(tmp_path))
    manifest = write(store, 1, 2)
    damaged(tmp_path / "000001" / "shard-0-of-2.safetensors", how)
    with pytest.raises(
        UserError,
        match=r"spec\.checkpoint\.restore: .*000001(/shard-0-of-2.* cannot be read| has 0 of the 8 weights)",
    ):
        read(store, 0, 2)
        read_state(store.fs, store.path("000001"), manifest)
    with pytest.raises(UserError, match=r"cannot be read|has 9 of the 17 weights"):
        read(store, 0, 1)
    assert read(store, 1, 2)[0]["weights"].size == 9


def test_a_missing_part_and_a_torn_manifest_are_told(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, 1, 2)
    (tmp_path / "000001" / "shard-1-of-2.safetensors").unlink()
    with pytest.raises(UserError, match="shard-1-of-2"):
        read(store, 1, 2)
    (tmp_path / "000001" / "manifest.json").write_text('{"job": "jo')
    with pytest.raises(UserError, match="no complete checkpoint"):
        store.newest()


def test_a_save_that_covers_only_a_part_of_the_model_is_not_filled_up_with_zeros(uri: str) -> None:
    store = Store(uri)
    manifest = write(store, 1, 3)
    manifest.parts = [part for part in manifest.parts if part.start]
    with pytest.raises(UserError, match="has 12 of the 17 weights that this shard needs"):
        read_range(store.fs, store.path("000001"), manifest, Range(0, SIZE))


# -- where from --------------------------------------------------------------------------------------------


def test_restore_takes_the_newest_round_another_stores_save_or_none_but_always_its_own_run(
    uri: str, tmp_path: Path
) -> None:
    elsewhere = Store(str(tmp_path / "elsewhere"))
    write(elsewhere, 9, 2)
    other = elsewhere.path("000009")
    store = Store(uri)
    assert _number(locate(store, "None", "run-1")) is None
    assert _number(locate(store, other, "run-1")) == 9
    write(store, 1, 1, run="run-1")
    write(store, 2, 1, run="run-1")
    assert [_number(locate(store, how, "run-1")) for how in ("Latest", "None", other)] == [2, 2, 2]
    assert [_number(locate(store, how, "run-2")) for how in ("Latest", "None", other)] == [2, None, 9]
    for nothing in (str(tmp_path / "nowhere"), "nosuch://x/y"):
        with pytest.raises(UserError, match=r"spec\.checkpoint\.restore"):
            locate(store, nothing, "run-2")


def _number(found: tuple[Any, str, Manifest] | None) -> int | None:
    return found[2].save if found else None


def test_a_store_that_cannot_be_used_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (str(tmp_path / "file" / "store"), "nosuch://bucket/x"):
        with pytest.raises(UserError, match=r"spec\.checkpoint\.uri: .* cannot be written"):
            Store(bad)


# -- terms -------------------------------------------------------------------------------------------------


def test_terms_rise_with_each_start_of_a_shard_and_older_ones_are_fenced(uri: str) -> None:
    store = Store(uri)
    assert [store.claim_term(0), store.claim_term(0), store.claim_term(1)] == [1, 2, 1]
    store.check_term(0, 2)
    store.check_term(1, 1)
    with pytest.raises(Fenced, match="shard 0 of term 1 was replaced by term 2"):
        store.check_term(0, 1)
    assert Store(uri).claim_term(0) == 3


def test_servers_that_start_at_once_never_share_a_term(tmp_path: Path) -> None:
    claimed: list[int] = []
    gate = threading.Barrier(8)

    def start() -> None:
        store = Store(str(tmp_path))
        gate.wait()
        claimed.extend(store.claim_term(0) for _ in range(10))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(1, 81))


def test_in_a_store_without_locks_a_term_that_somebody_just_took_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(f"memory://{uuid.uuid4()}")
    store.claim_term(0)
    monkeypatch.setattr(store, "newest_term", lambda shard: 0)  # a listing from before the other's claim
    assert store.claim_term(0) == 2


def test_something_foreign_among_the_terms_does_no_harm(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.claim_term(0)
    (tmp_path / "terms" / "shard-0" / ".nfs0001").write_text("")
    (tmp_path / "lost+found").mkdir()
    assert store.claim_term(0) == 2
    assert store.begun() == []


def test_a_replaced_shard_0_can_no_longer_make_a_save_exist(uri: str) -> None:
    store = Store(uri)
    store.claim_term(0)
    assert store.claim_term(0) == 2
    parts = [Part("x", 0, SIZE, 1, 1)]
    outcome = carry_out(store, Publish(Manifest("job", 1, 1, SIZE, "", [], "", 1, 1, parts, 0.0), keep=1))
    assert outcome.fenced and not outcome.done and "term 2" in outcome.error
    assert store.newest() is None


@pytest.fixture(autouse=True)
def _empty_memory() -> None:
    fsspec.filesystem("memory").store.clear()
