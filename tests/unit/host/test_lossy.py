"""A process whose log is on a full disk goes on, whatever prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from asgd.host.lossy import print_without_failing
print_without_failing()
for number in range(3):
    print("ä", number)
    print("to the other", file=sys.stderr)
sys.stdout.flush()
open(sys.argv[1], "w").write("got to its end")
"""


def test_prints_to_a_full_disk_are_lost_and_the_process_goes_on(tmp_path: Path) -> None:
    end = tmp_path / "end"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", CODE, str(end)], stdout=full, stderr=full)
    assert done.returncode == 0 and end.read_text() == "got to its end"


def test_prints_with_room_come_out_at_once_and_in_order(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "end")], capture_output=True)
    assert done.stdout.decode().splitlines() == ["ä 0", "ä 1", "ä 2"]
    assert done.stderr.decode().splitlines() == ["to the other"] * 3
