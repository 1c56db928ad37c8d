"""A folder for sockets is found wherever the temporary folder lies, or one sentence says what is missing."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd.host import private
from asgd.host.private import private_folder


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """`TMPDIR` is looked at anew."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    return monkeypatch


@pytest.mark.parametrize(
    "name", ["x" * 120, "not\udcffutf8", "ä" * 60], ids=["long", "not UTF-8", "long in bytes"]
)
def test_a_temporary_folder_that_no_socket_fits_in_is_passed_over(
    tmp_path: Path, temporary: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    temporary.setenv("TMPDIR", str(tmp_path / name))
    folder = private_folder()
    try:
        assert not folder.is_relative_to(tmp_path)
        assert folder.stat().st_mode & 0o77 == 0
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "server-999.bulk"))
    finally:
        shutil.rmtree(folder)


def test_a_short_temporary_folder_is_used_whatever_it_is_called(temporary: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="zwölf Wörter ") as place:
        temporary.setattr(tempfile, "tempdir", place)
        assert private_folder().parent == Path(place)


def test_where_there_is_no_place_one_sentence_says_what_is_needed(
    tmp_path: Path, temporary: pytest.MonkeyPatch
) -> None:
    long = str(tmp_path / ("x" * 120))
    temporary.setattr(private, "_places", lambda: iter([long, "/proc/nowhere"]))
    with pytest.raises(
        UserError, match=r"^TMPDIR: .* at most 77 bytes of UTF-8; none of .*, '/proc/nowhere' is one$"
    ):
        private_folder()
