"""On a busy machine the parts of the cluster wait for each other, and `up` says what it waits for.

The programs here are stand-ins that are slow, or that end as the real ones do when nobody answers them.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.cluster import api_tier, debian, shell
from tests.cluster.layout import HERE
from tests.cluster.shell import ClusterError, wait_until

SLOW_ETCD = f"""#!{sys.executable}
import socket, sys, time
time.sleep(0.5)
address = sys.argv[sys.argv.index("--listen-client-urls") + 1].rpartition(":")[2]
listener = socket.create_server(("127.0.0.1", int(address)))
open("etcd.listens", "w").close()
time.sleep(600)
"""
SLOW_API_SERVER = "[ -e etcd.listens ] || exit 1; sleep 0.5; touch answers; sleep 600"
IMPATIENT_CONTROLLERS = "[ -e answers ] || exit 1; touch account; sleep 600"
KUBECTL = (
    'cd "$(dirname "$2")"; case "$*" in *readyz) [ -e answers ];; *serviceaccount*) [ -e account ];; esac'
)


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stand in for Kubernetes' own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    scripts = {
        "etcd": SLOW_ETCD,
        "kube-apiserver": f"#!/bin/sh\n{SLOW_API_SERVER}\n",
        "kube-controller-manager": f"#!/bin/sh\n{IMPATIENT_CONTROLLERS}\n",
        "kube-scheduler": "#!/bin/sh\n[ -e answers ] || exit 1; sleep 600\n",
        "kubectl": f"#!/bin/sh\n{KUBECTL}\n",
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    return folder


def test_each_part_of_the_control_plane_starts_when_the_one_it_needs_answers(
    stand_ins: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    try:
        plane = api_tier.up(state, tied=True)
        assert plane.processes.dead() == []
    finally:
        api_tier.down(state)


def test_up_says_at_once_that_a_part_has_ended_and_shows_its_log(stand_ins: Path, tmp_path: Path) -> None:
    (stand_ins / "kube-apiserver").write_text("#!/bin/sh\necho no room for keys >&2; exit 7\n")
    state = tmp_path / "state"
    try:
        with pytest.raises(ClusterError, match=r"(?s)the API server: kube-apiserver ended with 7.*no room"):
            api_tier.up(state, tied=True)
    finally:
        api_tier.down(state)


def test_a_long_wait_says_what_it_waits_for_and_how_long_it_will(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell, "_QUIET_SECONDS", 0.0)
    answers = iter([False, False, True])
    wait_until("the API server", lambda: next(answers), 300)
    assert capsys.readouterr().err == "waiting for the API server: 0 s so far, at most 300 s\n"


def test_a_short_wait_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([False, True])
    wait_until("the API server", lambda: next(answers), 300)
    assert capsys.readouterr().err == ""


def test_two_nodes_that_ask_for_the_first_images_at_the_same_time_build_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASGD_CLUSTER_CACHE", str(tmp_path))
    program = tmp_path / "debian" / "busybox-static" / "bin" / "busybox"
    program.parent.mkdir(parents=True)
    program.touch()
    calls: list[str] = []
    monkeypatch.setattr(debian, "run", lambda *words, **_: _slow_program(calls, *map(str, words)))
    answers: list[list[Path]] = []
    nodes = [threading.Thread(target=lambda: answers.append(debian.image_archives())) for _ in range(2)]
    for each in nodes:
        each.start()
    for each in nodes:
        each.join(20)
    assert answers == [[tmp_path / "pause.tar", tmp_path / "busybox.tar"]] * 2
    assert [call for call in calls if call.startswith("buildah bud")] == [
        f"buildah bud {debian.PAUSE}",
        f"buildah bud {debian.BUSYBOX}",
    ]
    assert "waiting for another process that builds the image pause" in capsys.readouterr().err


def test_a_download_that_was_broken_off_leaves_no_program_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGD_CLUSTER_CACHE", str(tmp_path))

    def killed_while_unpacking(*words: str | Path, cwd: Path = tmp_path) -> str:
        if words[0] == "apt-get":
            (cwd / "busybox.deb").touch()
            return ""
        program = Path(words[-1], "bin/busybox")
        program.parent.mkdir(parents=True)
        program.write_text("half of i")
        raise ClusterError("no space left on device")

    monkeypatch.setattr(debian, "run", killed_while_unpacking)
    with pytest.raises(ClusterError, match="no space left"):
        debian.unpacked("busybox-static", "bin/busybox")
    assert not list(tmp_path.rglob("busybox"))


def test_a_machine_without_openssl_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "which", lambda _: None)
    with pytest.raises(ClusterError, match="openssl is missing: install it"):
        debian.need_openssl()


def test_every_program_that_the_nodes_need_is_installed_by_build_or_part_of_debian() -> None:
    sources = "\n".join(path.read_text() for path in HERE.glob("*.py"))
    called = set(re.findall(r'(?:(?<!\.)\b(?:run|succeeds)|_inside\(node\),)\(?\s*"([a-z-]+)"', sources))
    called |= set(re.findall(r'\("(unshare|nsenter|setpriv)"', sources))
    installed = {command.rpartition("/")[2] for command in debian.NODE_COMMANDS} | {"ctr"}
    part_of_debian = {"sh", "mount", "mountpoint", "apt-get", "dpkg-deb", "unshare", "nsenter", "setpriv"}
    named_by_the_readme = {"go"}
    assert called - installed - part_of_debian - named_by_the_readme == set()
    assert {"gcc", "openssl", "buildah", "ip", "ctr"} <= called, "the pattern finds them"


def _slow_program(calls: list[str], *words: str) -> str:
    """Stands in for gcc and buildah: takes time, and makes the file that it was asked for."""
    time.sleep(0.05)
    if words[:2] == ("buildah", "bud"):
        calls.append(f"buildah bud {words[words.index('-t') + 1]}")
    elif words[:2] == ("buildah", "push"):
        Path(words[-1].split(":")[1]).touch()
    return ""
