"""Which models a script connects, and by which optimizers, as far as that can be read."""

from __future__ import annotations

import ast

import pytest

from asgd.worker.task.connecting import Connected, connected

HEAD = "import asgd, torch\nfrom torch.optim import AdamW\ng, c = make(), make()\n"
BOTH = {"generator": "Adam", "critic": "AdamW"}


def read(text: str) -> Connected:
    return connected(ast.parse(HEAD + text))


@pytest.mark.parametrize(
    "text",
    [
        "models = asgd.connect({'generator': g, 'critic': c},"
        " {'generator': torch.optim.Adam(g.parameters()), 'critic': AdamW(c.parameters())})",
        "a, b = torch.optim.Adam(g.parameters()), AdamW(c.parameters())\n"
        "models = asgd.connect({'generator': g, 'critic': c}, optimizer={'generator': a, 'critic': b})\n"
        "a, b = models['generator'], models['critic']",
        "from asgd import connect as join\n"
        "def main():\n"
        "    both = dict(generator=g, critic=c)\n"
        "    a: Any = torch.optim.Adam(g.parameters())\n"
        "    steps = {'generator': a, 'critic': AdamW(c.parameters())}\n"
        "    models = join(model=both, optimizer=steps)\n",
        "import asgd as far\n"
        "b = AdamW(c.parameters())\n"
        "far.connect({'generator': g, 'critic': c}, dict(generator=torch.optim.Adam(g.parameters()), critic=b))",
    ],
)
def test_names_and_classes_are_read_where_a_script_writes_them(text: str) -> None:
    assert read(text) == Connected(BOTH, True)


def test_without_optimizers_the_models_are_read_and_the_job_file_s_optimizer_steps() -> None:
    assert read("asgd.connect({'a': g, 'b': c})") == Connected({"a": "", "b": ""}, False)
    assert read("asgd.connect({'a': g, 'b': c}, None)") == Connected({"a": "", "b": ""}, False)


def test_an_optimizer_that_a_function_makes_has_no_class_that_can_be_read() -> None:
    found = read("asgd.connect({'a': g, 'b': c}, {'a': made(g), 'b': AdamW(c.parameters())})")
    assert found == Connected({"a": "", "b": "AdamW"}, True)


@pytest.mark.parametrize(
    "text",
    [
        "asgd.connect(g, AdamW(g.parameters()))",
        "asgd.connect({name: make() for name in 'ab'})",
        "asgd.connect({NAME: g, 'b': c})",
        "a = b\nb = a\nasgd.connect(a)",
        "socket.connect({'a': 1, 'b': 2})",
        "print('nothing')",
    ],
)
def test_of_one_model_and_of_what_only_a_run_can_tell_nothing_is_read(text: str) -> None:
    assert read(text).models == {}
