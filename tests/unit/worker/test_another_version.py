"""A server or worker of another version of this program: a new process is worth a try, and nobody's input is wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import zmq

from asgd import exitcodes
from asgd.errors import ProtocolError, VersionMismatch
from asgd.spec.types import Codec
from asgd.wire.messages import PROTOCOL, Fault, encode
from asgd.worker.sending.centre import open_centre
from asgd.worker.sending.headers import PeerIdentity


def test_a_server_that_speaks_another_protocol_ends_the_worker_at_once_with_exit_code_75(
    tmp_path: Path,
) -> None:
    endpoint = f"ipc://{tmp_path}/server"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        server.bind(endpoint)

        def answer() -> None:
            sender = server.recv_multipart()[0]
            said = encode(
                Fault("version", f"peer speaks protocol {PROTOCOL}, this version speaks {PROTOCOL + 1}")
            )
            server.send_multipart([sender, bytes([PROTOCOL + 1]) + said[1:]])

        thread = threading.Thread(target=answer)
        thread.start()
        who = PeerIdentity(job="a", role="worker", index=0, incarnation=1, size=4, layout="a")
        centre = open_centre([endpoint], None, who, Codec(), lane="zmq")
        with pytest.raises(VersionMismatch, match=f"peer speaks protocol {PROTOCOL + 1}") as error:
            centre.join()
        thread.join()
        centre.leave()
    assert error.value.exit_code == exitcodes.TRY_AGAIN == ProtocolError.exit_code
