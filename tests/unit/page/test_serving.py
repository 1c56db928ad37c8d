"""The page beside a run: who may read it, what it leaves, and that nobody pays for it who does not look."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd.page import DEFAULT, OFF, address, file, record
from asgd.page.listing import Listing
from asgd.page.past import state_of
from asgd.page.serving import Door, Serving
from asgd.report.history import HistoryWriter
from tests.unit.page.jobs import Pretended


def get(url: str, host: str = "", accept: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_page_is_served_live_on_loopback_and_stays_when_the_run_ends(tmp_path: Path) -> None:
    job, said = Pretended(4, seconds=30), list[str]()
    serving = Serving(job.about, tmp_path, Door(DEFAULT), said.append)
    serving.start()
    try:
        url = (tmp_path / address.FILE).read_text().strip()
        serving.tell(job.status(3.0))
        code, text = get(url)
        assert code == 200
        assert 'id="lanes"' in text
        assert "http" not in text.partition("<script>")[0].replace("http-equiv", "").replace(
            "http://www.w3.org", ""
        )
        told = json.loads(get(url + "state")[1])
        assert told["state"]["about"]["job"] == "digits"
        stream = urllib.request.urlopen(f"{url}events?after={told['id']}", timeout=60)
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.readline().startswith(b"id: ")
        assert get(url, host="evil.example")[0] == 403
        assert get(url + "run/other/")[0] == 404
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(stream.readlines()))
        reader.start()
    finally:
        serving.close()
    reader.join(60)
    assert any(b'"over":true' in line for line in lines)
    assert not (tmp_path / address.FILE).exists()
    left = record.read(tmp_path)
    assert left is not None
    assert left["over"]
    assert said == []


def test_off_loopback_a_token_is_asked_for(tmp_path: Path) -> None:
    serving = Serving(Pretended().about, tmp_path, Door("0.0.0.0:0"), lambda line: None)
    serving.start()
    try:
        plain, _, query = serving.url.partition("?")
        port = plain.rstrip("/").rpartition(":")[2]
        base = f"http://127.0.0.1:{port}/"
        assert query.startswith("token=")
        assert (tmp_path / address.FILE).stat().st_mode & 0o077 == 0
        assert get(base)[0] == 403
        assert get(f"{base}?token=wrong")[0] == 403
        jar = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert jar.open(f"{base}?{query}", timeout=60).status == 200
        assert jar.open(f"{base}state", timeout=60).status == 200
    finally:
        serving.close()


def test_a_browser_that_looks_at_two_jobs_by_one_host_may_read_both(tmp_path: Path) -> None:
    both = [
        Serving(Pretended().about, tmp_path, Door("0.0.0.0:0", token), lambda line: None)
        for token in ("one", "two")
    ]
    jar = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    try:
        ports = []
        for serving in both:
            serving.start()
            plain, _, query = serving.url.partition("?")
            ports.append(plain.rstrip("/").rpartition(":")[2])
            assert jar.open(f"http://127.0.0.1:{ports[-1]}/?{query}", timeout=60).status == 200
        for port in ports:
            assert jar.open(f"http://127.0.0.1:{port}/state", timeout=60).status == 200
    finally:
        for serving in both:
            serving.close()


def test_without_a_visitor_nothing_is_imported_for_the_page(tmp_path: Path) -> None:
    sys.modules.pop("asgd.page.live", None)
    serving = Serving(Pretended().about, tmp_path, Door(DEFAULT), lambda line: None)
    serving.start()
    serving.tell(Pretended().status(2.0))
    time.sleep(0.1)
    serving.close()
    assert "asgd.page.live" not in sys.modules
    assert record.read(tmp_path) is not None


@pytest.mark.parametrize("given", ["localhost", "127.0.0.1:", ":80", "127.0.0.1:99999", "here:there"])
def test_an_address_that_is_none_is_refused_in_one_sentence(given: str) -> None:
    with pytest.raises(UserError, match=r"^--page: '.*' must be HOST:PORT, as 127\.0\.0\.1:0"):
        address.listen(given)


def test_a_run_without_a_page_is_shown_from_its_history(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    job = Pretended(3, seconds=20, happenings={1: (8.0, "dies")}, away=6.0)
    with HistoryWriter(run / "history.jsonl") as history:
        for _, status in job.statuses():
            history.record(status)
    told = state_of(run)
    assert told["over"]
    assert len(told["columns"]["loss"]) > 10
    assert [life[3] for life in told["lives"]["1"]] == ["lost", "left"]
    assert any(moment["kind"] == "lost" for moment in told["moments"])
    written = file.write(run, tmp_path)
    assert written.stat().st_size < 400_000
    assert [found.name for found in Listing(tmp_path).runs()] == ["run"]


def test_what_a_job_is_called_is_never_markup(tmp_path: Path) -> None:
    folder = tmp_path / "a<b>&'\"c"
    folder.mkdir()
    with HistoryWriter(folder / "history.jsonl") as history:
        for _, status in Pretended(1, seconds=2).statuses():
            history.record(status)
    page = Listing(tmp_path).page()
    assert "a<b>" not in page
    text = file.write(folder, folder).read_text()
    assert "<b>" not in text.partition("<body>")[2].partition("<script>")[0].partition('id="boot">')[2]


def test_a_page_that_nobody_looks_at_takes_less_than_a_hundredth_of_a_core(tmp_path: Path) -> None:
    job = Pretended(8, seconds=100)
    statuses = [job.status(float(t)) for t in range(60)]
    serving = Serving(job.about, tmp_path, Door(OFF), lambda line: None)
    began = time.thread_time()
    for status in statuses:
        serving.tell(status)
        serving.look()
    spent = (time.thread_time() - began) / len(statuses)
    assert spent < 0.01, f"{1000 * spent:.1f} ms of each second; 0.9 were measured"
