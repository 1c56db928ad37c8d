"""`asgd check`: each save, the model and the recording, whole or what is wrong, and an exit code for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from asgd.cli import main
from asgd.drivers.model_file import check_model, write_model
from asgd.errors import Damaged
from asgd.record import run as recording
from asgd.server.saves.store import Store
from tests.unit.server.test_checkpoint import TENSORS, write
from tests.unit.server.test_whole_saves import flip, part

MODEL = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.arange(3),
    "scalar": np.array(7, np.float32),
}
ABOUT = {"updates": "12", "lacks": ""}


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """{what: its line}"""
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line for line in lines[:-1]} | {"end": lines[-1]}


@pytest.mark.parametrize("kind", ["a folder", "a URI"])
def test_every_save_of_a_store_is_whole_incomplete_or_damaged_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    uri = str(tmp_path) if kind == "a folder" else f"file://{tmp_path}"
    for number in (1, 2, 3):
        write(Store(str(tmp_path)), number, 2, finish=number < 3)
    assert main(["check", uri]) == 0
    found = said(capsys)
    assert found["000001"].split()[1] == "whole" and "10 updates, 17 parameters" in found["000001"]
    assert "incomplete" in found["000003"] and found["end"] == "nothing is damaged (3 looked at)"
    flip(part(tmp_path, 1, 1, 2), -1)
    part(tmp_path, 2, 0, 2).unlink()
    assert main(["check", uri]) == 2
    found = said(capsys)
    assert "damaged" in found["000001"] and "shard-1-of-2.safetensors" in found["000001"]
    assert "checksum of momentum[0:9] does not match" in found["000001"]
    assert "shard-0-of-2.safetensors cannot be read" in found["000002"]
    assert found["end"] == "2 of 3 are damaged"


def test_a_store_that_only_one_shard_sees_is_judged_by_that_shards_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path))
    manifest = write(store, 1, 2, finish=False)
    manifest.parts = manifest.parts[1:]  # as a participant writes it
    store.keep_own(manifest, 1, keep=3)
    part(tmp_path, 1, 0, 2).unlink()
    assert main(["check", str(tmp_path)]) == 0
    assert "whole" in said(capsys)["000001"]
    flip(part(tmp_path, 1, 1, 2), -1)
    assert main(["check", str(tmp_path)]) == 2


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_what_is_no_store_is_told_in_one_sentence_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    assert main(["check", str(tmp_path / place)]) == 2
    assert capsys.readouterr().err.startswith("asgd: DIR: ")
    assert not list(tmp_path.iterdir())
    assert main(["check", "memory://nothing-here"]) == 2
    assert not fsspec.filesystem("memory").exists("nothing-here")


def test_a_runs_model_and_recording_are_looked_at_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text("")
    write(Store(str(tmp_path / "checkpoints")), 1, 1)
    write_model(tmp_path / "model.safetensors", MODEL, ABOUT)
    recording.begin(tmp_path / "replay", tmp_path, 1)
    assert main(["check", str(tmp_path)]) == 0
    found = said(capsys)
    assert "whole" in found["model.safetensors"] and "incomplete" in found["replay"]
    flip(tmp_path / "model.safetensors", -1)
    (tmp_path / "replay" / "run.json").write_text(
        (tmp_path / "replay" / "run.json").read_text().replace('"threads": "', '"threads": "1')
    )
    assert main(["check", str(tmp_path)]) == 2
    found = said(capsys)
    assert "its sha256 does not match" in found["model.safetensors"]
    assert "run.json is damaged: its checksum does not match" in found["replay"]


# -- the model file ----------------------------------------------------------------------------------------


def test_every_bit_of_a_model_file_that_means_something_is_proved(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, MODEL, ABOUT)
    assert check_model(path)
    good = path.read_bytes()
    for at in range(len(good)):
        flip(path, at, bit=at % 7)
        try:
            check_model(path)
            same = all(np.array_equal(load_file(path)[name], array) for name, array in MODEL.items())
            assert same, f"byte {at}: {good[at - 20 : at + 20]!r}"
        except Damaged:
            continue
        finally:
            path.write_bytes(good)


def test_other_tools_read_the_model_and_may_write_it_anew(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    write_model(path, MODEL, ABOUT)
    assert {name: array.tolist() for name, array in load_file(path).items()} == {
        name: array.tolist() for name, array in MODEL.items()
    }
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    assert {name: metadata[name] for name in ABOUT} == ABOUT and len(metadata["sha256"]) == 64
    save_file(dict(reversed(load_file(path).items())), path, metadata=metadata)
    assert check_model(path)
    save_file(load_file(path), path)
    assert not check_model(path), "it has no digest, and so cannot be wrong"


def test_a_model_that_cannot_be_written_leaves_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, MODEL, ABOUT)
    (tmp_path / "model.safetensors.partial").mkdir()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        write_model(path, {"a": np.zeros(3)}, ABOUT)
    assert check_model(path) and set(load_file(path)) == set(MODEL)


def test_the_shapes_of_a_saves_tensors_are_under_its_checksum(tmp_path: Path) -> None:
    write(Store(str(tmp_path)), 1, 1)
    manifest = tmp_path / "000001" / "manifest.json"
    told = json.loads(manifest.read_text())
    assert told["tensors"] == [list(tensor) for tensor in TENSORS]
    manifest.write_text(manifest.read_text().replace('"a.bias"', '"b.bias"'))
    assert main(["check", str(tmp_path)]) == 2
