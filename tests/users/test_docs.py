"""Commands and code of the docs do what the pages say: each block is executed, here or by the test that it names.

A page is a story: its files are written to a folder, then its console blocks are typed there, one after the other. Of
what they print, words must be those of the page; numbers are those of a run. A line `...` stands for any lines.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from asgd.spec.validate import main as validate
from tests import warm
from tests.users.jobs import ROOT

STORIES = {
    # page: commands that a reader of it types, beside those that stand there
    "docs/quickstart.md": [],
    "docs/how-to/migrate.md": [],
    "docs/how-to/resume.md": [],
    "docs/how-to/byzantine.md": [],
    "docs/how-to/cost.md": [],
    "docs/how-to/data.md": ["asgd validate mounted.yaml"],
    "docs/how-to/lightning-and-hugging-face.md": [
        "asgd run lit.yaml --set workers.replicas=1 --set stopAfter.epochs=2",
        "asgd run bert.yaml --set workers.replicas=1 --set stopAfter.epochs=1",
    ],
}
ELSEWHERE = {
    # page: the test that executes its blocks
    "docs/operate.md": "tests/chart/test_guide_commands.py",
    "docs/how-to/own-loop.md": "tests/users/test_scripts.py",
    "docs/how-to/own-strategy.md": "tests/users/test_own_strategy.py",
    "docs/how-to/pipeline.md": "tests/users/test_pipeline.py",
    "docs/how-to/task.md": "tests/users/test_tasks.py",
    "docs/how-to/hooks-and-loggers.md": "tests/users/test_hooks_page.py",
}
CLUSTER, INSTALLS, OWN = (
    "needs a cluster with nodes",
    "installs gigabytes",
    "stands for the reader's own code",
)
NOT_RUN = {
    # (page, how the block begins): why
    ("README.md", "make run"): INSTALLS,
    ("README.md", "# train.py"): OWN,
    ("README.md", "task = lightning.task("): OWN,
    ("README.md", "run = asgd.run(task"): "tests/users/test_from_python.py makes these calls",
    ("README.md", "tools/build_images.sh"): "tests/e2e/test_as_a_new_user.py types these on two nodes",
    ("docs/quickstart.md", "make run"): INSTALLS,
    ("docs/quickstart.md", "kubectl create configmap mine-code"): CLUSTER,
    ("docs/quickstart.md", "kubectl asgd submit"): "tests/e2e/test_kubectl.py types these on two nodes",
    ("docs/performance.md", "asgd bench"): "takes minutes; tests/local/test_bench.py runs it in small",
    (
        "docs/release.md",
        "helm upgrade",
    ): "tests/chart/test_guide_commands.py types the same line of operate.md",
    ("docs/runbook.md", "kubectl -n NS"): CLUSTER,
    ("docs/how-to/explain.md", "kubectl asgd explain"): "tests/e2e/test_causes.py asks on two nodes",
    ("docs/how-to/kubectl.md", "pip install"): INSTALLS,
    (
        "docs/how-to/kubectl.md",
        "import asgd.client",
    ): "tests/unit/client/test_client_run.py and tests/api/test_client_in_a_pod.py make these calls",
    ("docs/how-to/monitoring.md", "helm upgrade"): CLUSTER,
    ("docs/how-to/s3.md", "$ pip install"): "tests/local/test_s3.py does this with an S3 server",
    ("docs/how-to/s3.md", "kubectl create secret"): "tests/unit/render/test_pods.py renders its pods",
    ("docs/how-to/tracing.md", "pip install"): INSTALLS,
    ("docs/how-to/tracing.md", "helm upgrade"): CLUSTER,
    ("docs/how-to/from-python.md", "import asgd"): OWN,
    ("docs/how-to/from-python.md", "simulated = "): "tests/users/test_from_python.py makes these calls",
    (
        "docs/how-to/replay.md",
        "asgd replay runs/digits --until",
    ): "tests/local/test_replay.py: a moment is looked at",
    ("docs/how-to/replay.md", "kubectl asgd submit"): "tests/e2e/test_kubectl.py types these on two nodes",
    ("docs/how-to/migrate.md", "# train_ddp.py, before"): "another system's code",
    ("docs/how-to/migrate.md", "# train_hvd.py, before"): "another system's code",
    ("docs/how-to/migrate.md", "# train_tf.py, before"): "another system's code",
    ("docs/how-to/migrate.md", "# train_ray.py, before"): "another system's code",
}
NAMED = re.compile(r"# (\w+\.\w+)\n")
PATIENCE_SECONDS = 600.0
"""Far above what a command takes: a busy machine is no failure."""
NUMBER = r"-?[\d,]*\.?\d+(?:e-?\d+)?"


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that it is a part of, or ''."""
        found = NAMED.match(self.text)
        return found[1] if found else ""

    @property
    def waived(self) -> list[tuple[str, str]]:
        return [key for key in NOT_RUN if key[0] == self.page and self.text.startswith(key[1])]


def blocks() -> list[Block]:
    """Every fenced block of the pages for users."""
    pages = [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs/how-to").glob("*.md")),
    ]
    return [
        Block(str(page.relative_to(ROOT)), language, text)
        for page in pages
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S)
    ]


BLOCKS = blocks()


def test_each_block_of_code_is_executed_or_says_why_not() -> None:
    code = [block for block in BLOCKS if block.language in ("console", "sh", "python")]
    unknown = [
        f"{block.page}: {block.text.partition(chr(10))[0]}"
        for block in code
        if block.page not in ELSEWHERE
        and not block.waived
        and not (block.page in STORIES and (block.language == "console" or block.file))
    ]
    assert unknown == [], "neither a part of a story, nor executed by another test, nor in NOT_RUN"
    used = {key for block in code for key in block.waived}
    assert set(NOT_RUN) == used, "a reason for a block that is no more"


@pytest.mark.parametrize("page", ELSEWHERE)
def test_a_page_that_another_test_executes_is_named_there(page: str) -> None:
    assert Path(page).name in (ROOT / ELSEWHERE[page]).read_text().replace('" / "', "/")


def test_all_python_of_the_docs_can_be_parsed() -> None:
    for block in BLOCKS:
        if block.language == "python":
            ast.parse(block.text)


def test_all_whole_jobs_of_the_docs_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [
        block
        for block in BLOCKS
        if block.language == "yaml" and re.search("^kind: AsgdJob", block.text, re.M)
    ]
    assert len(jobs) > 12
    for number, block in enumerate(jobs):
        (tmp_path / f"{number}.yaml").write_text(block.text)
        code = validate([str(tmp_path / f"{number}.yaml")], [], lambda *_: [])
        assert code == 0, f"{block.page}: {capsys.readouterr()}"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("page", STORIES, ids=lambda page: Path(page).stem)
def test_the_commands_of_a_page_do_what_it_says(page: str, tmp_path: Path) -> None:
    for block in [*BLOCKS_OF_OTHERS.get(page, ()), *(block for block in BLOCKS if block.page == page)]:
        if block.file and not block.waived:
            (tmp_path / block.file).write_text(block.text)
    for block in BLOCKS:
        if block.page == page and block.language == "console":
            for command, expected in typed(block.text):
                said = execute(command, tmp_path)
                assert re.fullmatch(pattern(expected), said), f"$ {command}\n{said}\nis not\n{expected}"
    for command in STORIES[page]:
        execute(command, tmp_path)


BLOCKS_OF_OTHERS = {"docs/how-to/migrate.md": [b for b in BLOCKS if b.page == "docs/quickstart.md"]}
"""What a page says that it takes from another one."""


def typed(text: str) -> list[tuple[str, str]]:
    """(command, what it prints) of a console block."""
    parts = re.split(r"^\$ ", text, flags=re.M)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


def pattern(expected: str) -> str:
    """What a command prints, as an expression."""
    made = ""
    for line in expected.splitlines():
        parts = re.split(rf"(\.\.\.| +|{NUMBER})", line)
        made += r"(?:.*\n)*" if line == "..." else "".join(map(_of_part, parts)) + r"\n"
    return made


def _of_part(part: str) -> str:
    if part == "...":
        return ".*"
    if part.isspace():
        return " +"
    return NUMBER if re.fullmatch(NUMBER, part) else re.escape(part)


def execute(command: str, folder: Path) -> str:
    """What a command prints that has to end well."""
    program, *words = command.split()
    environ = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with tempfile.TemporaryFile() as out:
        if program == "asgd":
            process = warm.start(words, out, out, cwd=folder, env=environ)
        else:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], stdout=out, stderr=out, cwd=folder, env=environ
            )
        try:
            code = process.wait(PATIENCE_SECONDS)
        finally:
            for _ in range(2 if process.poll() is None else 0):  # the second one ends every process at once
                process.send_signal(signal.SIGINT)
                time.sleep(0.5)
        out.seek(0)
        said = out.read().decode()
    assert code == 0, f"$ {command}\n{said}"
    return said
