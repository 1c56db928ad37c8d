"""What a worker that was given up as hung says last: a sentence with the user's own line, after all the stacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from asgd import exitcodes

HANGS = """\
import threading, time
from asgd.worker.sending.heartbeat import end_hung
threading.Timer(0.5, end_hung, ["it pushed nothing for 60 s"]).start()
def loss():
    threading.Event().wait()
loss()
"""


def test_a_hung_worker_says_last_at_which_line_of_the_users_it_hung(tmp_path: Path) -> None:
    script = tmp_path / "hang.py"
    script.write_text(HANGS)
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == exitcodes.TRY_AGAIN
    assert ended.stderr.rstrip().splitlines()[-1] == "asgd: given up as hung, at hang.py:5"
    assert "it pushed nothing for 60 s" in ended.stdout and "Thread 0x" in ended.stderr
