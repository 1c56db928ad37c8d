"""Files made to hurt, or by a broken generator: each is refused in one sentence, or read, within a second."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from asgd.errors import UserError
from asgd.spec import advice, bounds, job_from_json, load_job
from asgd.spec.problems import JobError

HEAD = "apiVersion: asgd.dev/v1alpha1\nkind: AsgdJob\nmetadata: {name: a}\nspec:\n  entrypoint: a:b\n"
ALIASES = "  args:\n    a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"    {c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)
)
MERGES = "  args:\n    a0: &a0 {k: v}\n" + "".join(
    f"    a{i}: &a{i} {{<<: [{', '.join(f'*a{i - 1}' for _ in range(9))}]}}\n" for i in range(1, 12)
)
BOUND = 10.0
"""Seconds of CPU time: each takes less than one here, and for minutes where nothing bounds it."""
MANY, DEEP, LARGE = bounds.TOO_MANY, bounds.TOO_DEEP, bounds.TOO_LARGE
REFUSED = {
    "aliases of aliases": (HEAD + ALIASES, MANY),
    "merge keys of merge keys": (HEAD + MERGES, MANY),
    "100,000 open lists": (HEAD + "  args: " + "[" * 100_000, DEEP),
    "3,000 nested lists": (HEAD + "  args: {a: " + "[" * 3000 + "]" * 3000 + "}", DEEP),
    "lists by dashes": (HEAD + "  args:\n   " + "- " * 100_000, DEEP),
    "an alias that nests": (HEAD + "  args:\n    a: &a [*a]\n", "must not stand inside its own anchor"),
    "a million values": (HEAD + "  args: {a: [" + "1," * 1_000_000 + "]}", MANY),
    "a million documents": ("---\n" * 700_000, MANY),
    "string of 10 MB": (HEAD + "  args: {a: '" + "x" * 10_000_000 + "'}\n", LARGE),
    "20,000 unknown fields": (HEAD + "".join(f"  k{i}: {i}\n" for i in range(20_000)), "unknown field"),
    "10,000 keys twice": (HEAD + "  args: {" + "a: 1," * 10_000 + "}", "stands twice"),
}
READ = {
    "integer of 5,000 digits": "9" * 5000,
    "integer of a million digits": "9" * 1_000_000,
    "hexadecimal of a million digits": "0x" + "f" * 1_000_000,
    "string of 1 MB": "'" + "x" * 1_000_000 + "'",
    "a long list": "[" + "1," * 40_000 + "]",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bomb_is_refused_in_one_sentence_within_a_second(tmp_path: Path, name: str) -> None:
    text, why = REFUSED[name]
    (tmp_path / "job.yaml").write_text(text)
    load_job_of = time.process_time()
    with pytest.raises(UserError, match=why.replace("(", r"\(")) as raised:
        load_job(tmp_path / "job.yaml")
    assert time.process_time() - load_job_of < BOUND
    lines = str(raised.value).splitlines()
    assert all(len(line) < 1200 for line in lines)
    assert len(lines) == 1 or (len(lines) == 31 and lines[-1].endswith("problems more"))


@pytest.mark.parametrize("name", READ)
def test_what_is_only_long_is_read_within_a_second(tmp_path: Path, name: str) -> None:
    (tmp_path / "job.yaml").write_text(f"{HEAD}  args: {{a: {READ[name]}}}\n")
    began = time.process_time()
    value = load_job(tmp_path / "job.yaml").spec.args["a"]
    assert time.process_time() - began < BOUND
    assert len(value) == len(READ[name].strip("'")) if isinstance(value, str) else len(value) == 40_000


def test_a_bomb_in_an_option_is_refused_like_one_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(HEAD)
    with pytest.raises(JobError, match=r"--set.*spec\.args\.a.* 100 deep"):
        load_job(tmp_path / "job.yaml", ["args.a=" + "[" * 3000 + "]" * 3000])


def test_a_device_without_an_end_is_not_read_to_its_end() -> None:
    with pytest.raises(UserError, match="/dev/zero"):
        load_job("/dev/zero")


@pytest.mark.parametrize("depth", [200, 3_000, 200_000])
def test_the_json_of_a_job_is_bounded_alike(tmp_path: Path, depth: int) -> None:
    (tmp_path / "job.yaml").write_text(HEAD)
    document = load_job(tmp_path / "job.yaml").document
    text = msgspec.json.encode(document).replace(
        b'"args":{}', b'"args":{"a":' + b"[" * depth + b"]" * depth + b"}"
    )
    with pytest.raises(UserError, match="more than 100 deep"):
        job_from_json(text)
    document["spec"]["args"] = {"a": [1] * 60_000}
    with pytest.raises(UserError, match="more than 50,000 keys and values"):
        job_from_json(msgspec.json.encode(document))


def test_a_job_nested_as_deep_as_an_api_server_allows_ends_nobody_elses_events() -> None:
    """In a process of its own, as the operator sets the limit for its whole process."""
    code = (
        "import json, sys; from asgd_operator import main; from asgd_operator.engine.reading import read;"
        "from asgd_operator.engine.views import job; sys.setrecursionlimit(main.DEEPEST);"
        "seen = job(json.loads(sys.stdin.read())); print(read(seen, started=False).problem)"
    )
    lists = "[" * 9_990 + "]" * 9_990
    metadata = '{"namespace": "n", "name": "a", "uid": "u"}'
    event = f'{{"metadata": {metadata}, "spec": {{"entrypoint": "a:b", "args": {{"a": {lists}}}}}}}'
    done = subprocess.run([sys.executable, "-c", code], input=event, capture_output=True, text=True)
    assert "InvalidSpec" in done.stdout and "more than 100 deep" in done.stdout, done.stderr[-500:]


@pytest.mark.parametrize(("key", "word"), [("n", "false"), ("y", "true"), ("off", "false")])
def test_a_name_that_yaml_takes_for_a_truth_value_earns_a_hint(tmp_path: Path, key: str, word: str) -> None:
    (tmp_path / "job.yaml").write_text(f"{HEAD}  args: {{{key}: 4096, m: 1}}\n")
    job = load_job(tmp_path / "job.yaml")
    assert job.spec.args == {word: 4096, "m": 1}, "as kubectl reads it"
    (hint,) = advice(job)
    assert f"a key is called `{word}`" in hint and 'in quotes, as "n"' in hint
    (tmp_path / "job.yaml").write_text(f'{HEAD}  args: {{"{key}": 4096}}\n')
    assert advice(load_job(tmp_path / "job.yaml")) == []


def test_the_bounds_count_what_is_there_and_no_more() -> None:
    assert bounds.beyond({}) == bounds.beyond(json.loads("[" * 100 + "]" * 100)) == ""
    assert bounds.beyond(json.loads("[" * 102 + "]" * 102)) == bounds.TOO_DEEP
    assert bounds.beyond([0] * (bounds.VALUES - 1)) == ""
    assert bounds.beyond([0] * bounds.VALUES) == bounds.beyond({str(i): 0 for i in range(30_000)}) == MANY


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("010", '010 is 8 to kubectl, since a 0 in front makes a number octal; write 10, 8 or "010"'),
        ("-0_17", '-0_17 is -15 to kubectl, since a 0 in front makes a number octal; write -17, -15 or "-0_17"'),
        ("7" * 5_000, f"{'7' * 40}... (5,000 characters) is no number to kubectl, which has none so large, but text"),
        ("1e999", "1e999 is no number to kubectl, which has none so large, but text"),
        ("0xFFFFFFFFFFFFFFFFF", "0xFFFFFFFFFFFFFFFFF is no number to kubectl, which has none so large, but text"),
        ("18446744073709551617",
         "18446744073709551617 is 1.8446744073709552e+19 to kubectl, whose integers have 64 bits"),
    ],
)  # fmt: skip
def test_a_number_that_kubectl_reads_as_another_value_earns_a_hint(
    tmp_path: Path, text: str, hint: str
) -> None:
    (tmp_path / "job.yaml").write_text(f"{HEAD}  args: {{a: [{text}]}}\n")
    assert advice(load_job(tmp_path / "job.yaml")) == [f"spec.args.a[0]: {hint}"]
    (tmp_path / "job.yaml").write_text(f"{HEAD}  args: {{a: 1}}\n")
    assert advice(load_job(tmp_path / "job.yaml", [f"args.a={text}"])) == [f"spec.args.a: {hint}"]
    (tmp_path / "job.yaml").write_text(f'{HEAD}  args: {{a: {text}, b: "{text}"}}\n')
    assert advice(load_job(tmp_path / "job.yaml", ["args.a=1"])) == [], "what is written over earns none"


@pytest.mark.parametrize(
    "text", ["07", "00", "09", "0x10", "1_000", "1e22", "0.10", "1:30", "9223372036854775807"]
)
def test_a_number_that_is_what_it_looks_like_earns_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(f"{HEAD}  args: {{a: {text}}}\n")
    assert advice(load_job(tmp_path / "job.yaml")) == []


def test_very_many_such_numbers_are_told_in_a_few_lines(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(f"{HEAD}  args: {{a: [{', '.join(['010'] * 500)}]}}\n")
    *_, last = hints = advice(load_job(tmp_path / "job.yaml"))
    assert len(hints) == 11 and last == "490 more numbers are like this"
