"""Checkpoints on a real S3 server, whose certificate is signed by an authority that no system knows."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from botocore.exceptions import SSLError

from asgd.client import assembling
from asgd.commands.check import run as check
from asgd.errors import TryAgain, UserError
from asgd.server.saves.restore import open_store
from asgd.server.saves.s3 import S3, trouble
from asgd.server.saves.store import Store
from tests.local.run import PATIENCE_SECONDS, Counting
from tests.s3 import BUCKET, S3Server, s3_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
]  # a run and its resume, on a machine that may be busy
URI = f"s3://{BUCKET}/digits"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    # Profiles and roles of the machine that the tests run on are none of theirs.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    S3.clear_instance_cache()
    return server


def manifests(server: S3Server) -> list[Path]:
    return sorted((server.data / BUCKET / "digits").glob("*/manifest.json"))


def test_a_run_with_killed_servers_is_kept_there_resumed_from_there_and_its_model_fetched(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASGD_MEMORY", "")
    with Counting(tmp_path, 6, checkpoint={"uri": URI, "everySeconds": 0.5, "keep": 2}) as run:
        for shard in (1, 0):
            run.until("there are checkpoints", lambda: len(manifests(s3)) >= 2)
            pid = run.signal(f"server-{shard}", signal.SIGKILL)
            run.until(
                "it is back",
                lambda: run.rows().get(f"server-{shard}", {}).get("pid") not in (None, pid),  # noqa: B023
            )
        run.pace(0.01)
        assert run.finish() == 0, run.words()
        assert run.summary().restarts["server"] == 2
        assert run.model()["first"].min() >= 6
        assert len(manifests(s3)) == 2, "older ones are removed"
        run.start("--set", "stopAfter.epochs=8", "--set", "checkpoint.restore=Latest")
        assert run.wait(2 * PATIENCE_SECONDS) == 0, run.words()
        assert run.summary().epochs == pytest.approx(8.0)
        trained = run.model()
    assert not list((s3.data / BUCKET).glob("**/*.partial"))
    assert json.loads(manifests(s3)[-1].read_text())["updates"] == run.summary().updates
    assert check(URI) == 0
    assert capsys.readouterr().out.count(" whole ") == 2
    assembling.latest(URI, tmp_path / "fetched" / "model.safetensors")
    fetched = Counting.model_in(tmp_path / "fetched")
    assert all(np.array_equal(fetched[name], trained[name]) for name in ("first", "second"))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


WRONG = {
    "no bucket": (
        {},
        "s3://nobody/digits",
        "127.0.0.1:PORT has no bucket 'nobody'; make it first, or mend the name",
    ),
    "only a bucket": (
        {},
        f"s3://{BUCKET}",
        f"it names no folder in the bucket; allowed: s3://{BUCKET}/FOLDER",
    ),
    "unknown authority": (
        {"AWS_CA_BUNDLE": ""},
        URI,
        "PORT is not trusted: unable to get local issuer certificate; name the file of its authority in AWS_CA_BUNDLE",
    ),
    "no such file": (
        {"AWS_CA_BUNDLE": "/no/ca.crt"},
        URI,
        "AWS_CA_BUNDLE: '/no/ca.crt' cannot be read: No such file",
    ),
    "no certificate": (
        {"AWS_CA_BUNDLE": "/etc/hostname"},
        URI,
        "AWS_CA_BUNDLE: '/etc/hostname' holds no certificate",
    ),
    "no such name": ({}, "s3://Under_score!/digits", "'Under_score!' is no name of a bucket"),
    "wrong secret": (
        {"AWS_SECRET_ACCESS_KEY": "x"},
        URI,
        "refuses these credentials (SignatureDoesNotMatch)",
    ),
    "unknown key": (
        {"AWS_ACCESS_KEY_ID": "x"},
        URI,
        "refuses: XAdminUserNotFound (No user exists with the provided access key ID.)",
    ),
    "no key": (
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        URI,
        "set AWS_ACCESS_KEY_ID and AWS_SECRET",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_only_the_user_can_mend_is_said_in_one_sentence(
    case: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, uri, sentence = WRONG[case]
    for name, value in changes.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    with pytest.raises(UserError) as caught:
        open_store(uri)
    assert sentence.replace("PORT", str(s3.port)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_authority_is_asked_for_only_where_one_is_missing() -> None:
    said = "Cannot connect [SSLCertVerificationError: (1, '[SSL: X] certificate verify failed: {} (_ssl.c:1006)')]"
    why = "Hostname mismatch, certificate is not valid for 'store'."
    told = trouble(SSLError(endpoint_url="https://store", error=said.format(why)), "team", "https://store")
    assert told == f"the certificate of https://store is not trusted: {why.rstrip('.')}"


def test_asgd_run_and_asgd_check_end_with_2_for_them(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with Counting(tmp_path, 1, checkpoint={"uri": URI}) as run:
        assert run.wait() == 2
    (said,) = [line for line in run.said.splitlines() if "is not trusted" in line]
    assert said.startswith(
        f"asgd: spec.checkpoint.uri: '{URI}' cannot be used: the certificate of https://127.0.0.1"
    )
    assert "AWS_CA_BUNDLE" in said and "Traceback" not in run.said


def test_a_store_that_is_away_may_come_back(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(URI)
    term = store.claim_term("away", "run")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3.clear_instance_cache()
    with pytest.raises(TryAgain, match="Could not connect"):
        open_store(URI)
    assert store.claim_term("away", "run") == term + 1


def test_a_term_is_claimed_by_one_only(s3: S3Server) -> None:
    store = Store(f"s3://{BUCKET}/terms")
    first = store.claim_term(0, "one")
    other = Store(f"s3://{BUCKET}/terms")
    assert not other._create(other.path("terms", "shard-0", f"{first:06d}"), b"two")
    assert other.claim_term(0, "two") == first + 1
    assert store.newest_term(0) == first + 1
    assert other.saves() == []
