"""What an API server refuses is one sentence, in kubectl's words."""

from __future__ import annotations

import json

import pytest

from asgd.client.answers import of_command, refusal
from asgd.client.errors import ApiError, Conflict, Forbidden, Invalid, NotFound


def status(reason: str, message: str) -> bytes:
    return json.dumps({"reason": reason, "message": message}).encode()


@pytest.mark.parametrize(
    ("code", "reason", "message", "kind", "exit_code"),
    [
        (404, "NotFound", 'asgdjobs.asgd.dev "x" not found', NotFound, 1),
        (403, "Forbidden", 'asgdjobs.asgd.dev is forbidden: User "u" cannot list', Forbidden, 1),
        (409, "AlreadyExists", 'asgdjobs.asgd.dev "x" already exists', Conflict, 1),
        (422, "Invalid", 'AsgdJob "x" is invalid: spec.seed: Invalid value', Invalid, 2),
        (500, "InternalError", "etcd is slow", ApiError, 1),
    ],
)
def test_a_refusal_is_said_as_kubectl_says_it(
    code: int, reason: str, message: str, kind: type[ApiError], exit_code: int
) -> None:
    error = refusal(code, status(reason, message))
    assert type(error) is kind
    assert str(error) == f"Error from server ({reason}): {message}"
    assert (error.code, error.reason, error.exit_code) == (code, reason, exit_code)


def test_a_cluster_without_the_crd_says_what_to_install() -> None:
    error = refusal(404, b'{"message": "the server could not find the requested resource"}')
    assert 'doesn\'t have a resource type "asgdjobs"' in str(error)
    assert "helm install" in str(error)


def test_an_answer_that_is_no_status_is_cut_short() -> None:
    error = refusal(502, b"<html>\n" + b"x" * 1000)
    assert str(error).startswith("Error from server: <html> x") and len(str(error)) < 300


def test_a_command_in_a_container_that_fails_tells_its_code_and_what_it_said() -> None:
    end = {
        "status": "Failure",
        "message": "m",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }
    error = of_command(json.dumps(end).encode(), b"no such\nfolder\n")
    assert str(error) == "error: command terminated with exit code 3: no such folder"
    assert of_command(b'{"status": "Success"}', b"a warning") is None
