"""Where a server listens for the bulk lane, and what it does where it cannot."""

from __future__ import annotations

import socket

import pytest

from asgd.server.bulk import open_bulk


@pytest.mark.parametrize(
    "asked", ["tcp://127.0.0.1:{port}", "tcp://nobody.invalid:0", "ipc:///no/such/folder/s"]
)
def test_a_server_that_can_not_listen_for_bulk_says_so_and_goes_on_with_zeromq(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = asked.format(port=taken.getsockname()[1])
        assert open_bulk("tcp://127.0.0.1:7077", address, False, "job", 0) is None
    said = capsys.readouterr()
    assert f"no bulk lane: cannot listen on {address}" in said.out + said.err


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:7077", "tcp://*:7077"])
def test_without_an_address_of_its_own_the_bulk_lane_takes_a_free_port_beside_zeromq(bind: str) -> None:
    bulk = open_bulk(bind, "", False, "job", 0)
    assert bulk is not None
    host, port = bulk._listener.getsockname()
    assert host == ("127.0.0.1" if "127" in bind else "0.0.0.0")
    assert bulk.address == f"tcp://:{port}" and port != 7077
    bulk.close()
