"""What a user finds in the slim image: a shell, tar, licences, and no package manager; and the chart's own test.

That its programs run, the other tests show: operator, servers and page are containers of it.
"""

from __future__ import annotations

import pytest
from tools import image_parts

from tests.chart.helm import helm
from tests.cluster.layout import cache
from tests.e2e.release import DEPLOYMENT, SYSTEM, Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(180)
INSIDE = ("-n", SYSTEM, "exec", f"deployment/{DEPLOYMENT}", "--")


def test_the_slim_image_holds_packages_with_their_licences_and_no_distribution(release: Release) -> None:
    if not release.cluster.ours:
        pytest.skip("the archive of this cluster's image is not here")
    archive = cache() / "images" / "asgd-operator.tar"
    files = {*image_parts.sizes(archive)}
    assert not {f"usr/bin/{name}" for name in ("apt", "dpkg", "perl", "bash", "gcc")} & files
    listed = image_parts.text(archive, "var/lib/dpkg/status")
    packages = {line.split()[1] for line in listed.splitlines() if line.startswith("Package: ")}
    assert {"libc6", "busybox-static", "ca-certificates"} <= packages
    assert {f"usr/share/doc/{name}/copyright" for name in ("libc6", "busybox-static", "libssl3t64")} <= files


def test_a_shell_opens_in_the_operator_and_files_come_out_of_it(release: Release) -> None:
    told = release.kubectl(
        *INSIDE, "sh", "-c", "id -u; ls -d /opt/asgd/bin/asgd-operator; touch /x 2>&1 || true"
    )
    assert told.split()[:2] == ["65532", "/opt/asgd/bin/asgd-operator"]
    assert "Read-only file system" in told
    assert release.kubectl(*INSIDE, "sh", "-c", "command -v apt dpkg perl bash gcc || true").strip() == ""
    assert "asgd:x:65532" in release.kubectl(*INSIDE, "tar", "-cf", "-", "-C", "/etc", "passwd")


def test_the_charts_own_test_passes(release: Release) -> None:
    told = helm("test", "asgd", "-n", SYSTEM, "--kubeconfig", release.cluster.kubeconfig, "--timeout=90s")
    assert "Succeeded" in told
