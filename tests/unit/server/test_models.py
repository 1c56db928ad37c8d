"""Several models of one job, each by steps of its own: to the servers each is a job of its own, to the bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.registry import names, strategy
from asgd.errors import ProtocolError
from asgd.server.core import ServerCore
from asgd.server.manifest import Manifest
from asgd.server.saving import Restored
from asgd.spec.types import Optimizer
from asgd.wire.messages import Exchange, Fault, Hello, Init, Pull, Reply, Welcome
from asgd.wire.partition import Cuts, Range, shard_range
from asgd.wire.rule import Rule, Rules, pack, rule_difference, sentence
from tests.checks.virtual import job

SIZES = {"generator": 5, "critic": 3}
TENSORS = {name: [[f"{name}.w", [size]]] for name, size in SIZES.items()}
ADAM = Optimizer(name="adam", learning_rate=0.25)
SGD = Optimizer(learning_rate=0.5, momentum=0.5)
FIGURES = {"easgd": {"alpha": 0.25}, "eamsgd": {"alpha": 0.25}}
WORKERS = 2


def rules(generator: Optimizer = ADAM, critic: Optimizer = SGD) -> Rules:
    told = {"generator": generator, "critic": critic}
    each = {name: Rule(own.name, [{"lr": f"{own.learning_rate:g}"}], own) for name, own in told.items()}
    return Rules(each, [*SIZES.values()])


BOTH = pack(rules())


class Servers:
    """All shards of a job, and workers that push at random what is theirs to push."""

    def __init__(self, told: bytes, tensors: list[Any], shards: int = 1, **spec: Any) -> None:
        self.size = sum(size for _, (size,) in tensors)
        fields = {"stopAfter": {"updates": 10**6}, "optimizer": {}, "parameterServer": {"shards": shards}}
        self.job = job(**{**fields, "workers": {"replicas": WORKERS}, **spec})
        self.told, self.tensors, self.sequence = told, json.dumps(tensors).encode(), 0
        self.cores = [self.start(shard) for shard in range(shards)]
        self.bases: dict[Any, list[int]] = {}

    def start(self, shard: int, restored: Restored | None = None, term: int = 1) -> ServerCore:
        core = ServerCore(self.job, shard, term, run="one")
        core.restore(restored, 1.0)
        for worker in range(WORKERS):
            assert isinstance(self.say(core, self.hello(worker)), Welcome)
        if not core.shard.ready:
            part = shard_range(self.size, shard, self.job.spec.parameter_server.shards)
            ones = np.linspace(1, 2, self.size, dtype=np.float32)[part.start : part.stop]
            self.say(core, Init(0, 1, 0), ones)
        return core

    def hello(self, worker: int, told: bytes | None = None) -> Hello:
        rule = self.told if told is None else told
        return Hello(
            "check", "worker", worker, 1, self.size, "a", tensors=self.tensors, rule=rule, own_loop=True
        )

    def say(self, core: ServerCore, message: Any, payload: Any = None) -> Any:
        frame = None if payload is None else memoryview(np.ascontiguousarray(payload)).cast("B")
        [(_, answer, _)] = core.receive(f"worker {message.index}".encode(), message, frame, 1.0)
        return answer

    def push(self, worker: int, vector: Any, part: int = 0, parts: int = 1, **more: Any) -> list[Any]:
        """`vector` is the part's. What came back from each shard; a worker's next push builds on what it brought."""
        self.sequence = more.pop("sequence", self.sequence + 1)
        answers = []
        for core in self.cores:
            cuts = Cuts(core.shard.cuts.whole, core.shard.cuts.edges)
            own = cuts.part(part, parts)
            first = cuts.whole.start + own.start - (cuts.edges[part] if cuts.edges else 0)
            base = self.bases.get((worker, part), [0] * len(self.cores))[core.shard.index]
            message = Exchange(
                worker, 1, self.sequence, 0, more.get("base", base), 8, 1, True, True, part=part, parts=parts,
                meta=FIGURES.get(str(core.job.spec.algorithm["name"]), {}), settings=more.get("settings", []),
            )  # fmt: skip
            answers.append(self.say(core, message, vector[first : first + own.size] if own.size else None))
        if all(isinstance(answer, Reply) for answer in answers):
            counts = [answer.models[part] if answer.models else answer.version for answer in answers]
            self.bases[worker, part] = counts
        return answers

    def arrays(self, span: slice = slice(None)) -> dict[str, Any]:
        names = self.cores[0].shard.arrays()
        whole = {name: np.concatenate([core.shard.arrays()[name] for core in self.cores]) for name in names}
        return {name: array[span] for name, array in whole.items()}


def saved(core: ServerCore, number: int = 3) -> Restored:
    shard = core.shard
    arrays = {name: array.copy() for name, array in shard.arrays().items()}
    manifest = Manifest("check", number, 1, shard.size or 0, "a", [], "asgd", 1, 8, [], 0.0, "one")
    return Restored(
        number, shard.size or 0, "a", arrays, json.loads(json.dumps(shard.meta())), None, manifest
    )


def both(**spec: Any) -> Servers:
    return Servers(BOTH, [*TENSORS["generator"], *TENSORS["critic"]], **spec)


def vector(draws: np.random.Generator, name: str) -> Any:
    return draws.normal(size=SIZES[name]).astype(np.float32)


TRAINED = [name for name in names() if strategy(name).models]
OPTIONS = {
    "adaptive": {"algorithm": {"name": "dc-asgd", "adaptive": True}},
    "softsync": {"algorithm": {"name": "staleness-aware", "softsync": 1}},
    "delta": {"algorithm": {"name": "asgd", "mode": "delta"}},
    "outer": {"algorithm": {"name": "asgd", "mode": "delta"}, "outerOptimizer": {"momentum": 0.9}},
    "shrunk": {"exchange": {"staleness": {"max": 1, "policy": "Scale"}}},
    "ahead": {"algorithm": {"name": "dc-asgd"}, "exchange": {"ahead": 1}},
}
NEEDED = {"eamsgd": {"optimizer": {"momentum": 0.9}}}
JOBS = {name: {"algorithm": {"name": name}} | NEEDED.get(name, {}) for name in TRAINED} | OPTIONS


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("spec", JOBS.values(), ids=JOBS)
def test_each_model_is_trained_as_in_a_job_of_its_own(spec: dict[str, Any], shards: int) -> None:
    together = both(shards=shards, **spec)
    alone = {name: Servers(pack(rules().models[name]), TENSORS[name], shards=1, **spec) for name in SIZES}
    # The same weights at first.
    start = together.arrays()["weights"].copy()
    for number, name in enumerate(SIZES):
        span = slice(0, 5) if number == 0 else slice(5, 8)
        alone[name].cores[0].shard.state.weights[:] = start[span]
    draws = np.random.default_rng(3)
    for _ in range(40):
        number = int(draws.integers(4) == 0)
        name, worker = [*SIZES][number], int(draws.integers(WORKERS))
        gradient = vector(draws, name)
        [mine, *_] = together.push(worker, gradient, number, 2)
        [theirs] = alone[name].push(worker, gradient)
        assert (mine.verdict, mine.models[number]) == (theirs.verdict, theirs.version)
    for number, name in enumerate(SIZES):
        span = slice(0, 5) if number == 0 else slice(5, 8)
        for array, values in alone[name].arrays().items():
            assert np.array_equal(together.arrays(span)[array], values), (name, array)
    assert all(core.shard.state.version == 40 for core in together.cores)


def test_a_step_of_one_model_leaves_all_of_the_other_alone() -> None:
    servers = both()
    servers.push(0, np.ones(3, np.float32), 1, 2)
    before = {name: array.copy() for name, array in servers.arrays(slice(5, 8)).items()}
    for _ in range(3):
        servers.push(0, np.ones(5, np.float32), 0, 2)
    assert all(np.array_equal(before[name], array) for name, array in servers.arrays(slice(5, 8)).items())
    assert servers.cores[0].shard.state.models == [3, 1]


def test_staleness_counts_updates_of_the_same_model() -> None:
    servers = both()
    servers.push(0, np.ones(3, np.float32), 1, 2)
    for _ in range(5):
        servers.push(1, np.ones(5, np.float32), 0, 2)
    servers.push(0, np.ones(3, np.float32), 1, 2)  # five steps of the generator later: not stale
    servers.push(0, np.ones(5, np.float32), 0, 2)  # computed from the weights of the start
    assert servers.cores[0].shard.histogram == {0: 7, 5: 1}


def test_a_push_that_comes_twice_counts_once_for_its_model() -> None:
    servers = both()
    servers.push(0, np.ones(3, np.float32), 1, 2, sequence=1)
    weights = servers.arrays()["weights"].copy()
    [again] = servers.push(0, np.ones(3, np.float32), 1, 2, sequence=1)
    assert again.verdict == "duplicate"
    assert np.array_equal(weights, servers.arrays()["weights"])
    assert again.models == [0, 1]


@pytest.mark.parametrize("spec", [{}, OPTIONS["softsync"]], ids=["asgd", "softsync"])
def test_a_restart_goes_on_with_the_updates_of_each_model(spec: dict[str, Any]) -> None:
    draws, kept, gone = np.random.default_rng(5), both(**spec), both(**spec)
    for step in range(20):
        number = step % 3 > 0
        gradient = vector(draws, [*SIZES][number])
        for servers in (kept, gone):
            servers.push(0, gradient, int(number), 2)
        if step == 9:
            gone.cores[0] = gone.start(0, saved(gone.cores[0]), term=2)
    for name, array in kept.arrays().items():
        assert np.array_equal(array, gone.arrays()[name]), name
    assert kept.cores[0].shard.state.models == gone.cores[0].shard.state.models == [7, 13]


def test_what_a_scheduler_has_moved_holds_for_its_model() -> None:
    servers = Servers(
        pack(rules(Optimizer(learning_rate=0.5), Optimizer(learning_rate=0.5))),
        [*TENSORS["generator"], *TENSORS["critic"]],
    )
    servers.cores[0].shard.state.weights[:] = 1
    servers.push(0, np.ones(5, np.float32), 0, 2, settings=[{"learning_rate": 0.25}])
    servers.push(0, np.ones(3, np.float32), 1, 2)
    servers.push(0, np.ones(5, np.float32), 0, 2, settings=[{"learning_rate": 0.25}])
    assert list(servers.arrays()["weights"]) == [0.5] * 8


def test_what_is_usual_for_one_model_says_nothing_of_another() -> None:
    servers = both(outliers={"after": 3, "factor": 100, "least": 1})
    for _ in range(4):
        servers.push(0, np.full(5, 1e-3, np.float32), 0, 2)
    for _ in range(4):
        [answer] = servers.push(0, np.full(3, 1e3, np.float32), 1, 2)
        assert answer.verdict == "applied"
    [answer] = servers.push(0, np.full(5, 1e3, np.float32), 0, 2)
    assert answer.verdict == "refused:outlier"
    fresh = servers.start(0, saved(servers.cores[0]), term=2)
    assert fresh.shard.outliers.state() == servers.cores[0].shard.outliers.state()


def test_the_moving_average_of_a_model_moves_with_its_own_updates() -> None:
    servers = both(evaluation={"ema": 0.5})
    servers.push(0, np.ones(5, np.float32), 0, 2)
    before = servers.arrays()["ema"].copy()
    servers.push(0, np.ones(5, np.float32), 0, 2)
    after = servers.arrays()["ema"]
    assert np.array_equal(before[5:], after[5:])
    assert not np.any(before[:5] == after[:5])


def test_people_are_told_the_updates_of_each_model_and_whose_optimizers_they_are() -> None:
    servers = both()
    for _ in range(2):
        servers.push(0, np.ones(3, np.float32), 1, 2)
    assert servers.cores[0].primary
    told = servers.cores[0].primary.status(1.0)
    assert told.updates == 2
    assert told.strategy_figures == {"generatorUpdates": 0.0, "criticUpdates": 2.0}
    assert sentence(BOTH) == (
        "generator: adam of the script, run on the servers (1 group);"
        " critic: sgd of the script, run on the servers (1 group)"
    )


OTHER = pack(rules(critic=Optimizer(learning_rate=0.1)))
SWAPPED = pack(Rules(dict(reversed(rules().models.items())), [3, 5]))


@pytest.mark.parametrize(
    "told, words",
    [
        (pack(rules().models["critic"]), "its script connects one model, and the job has models generator and critic"),
        (b"", "its script connects one model, and the job has models generator and critic"),
        (OTHER, "critic: sgd, group 0: lr is 0.1, and 0.5 in this job"),
        (SWAPPED, "its script connects models critic and generator in this order"),
    ],
)  # fmt: skip
def test_who_connects_other_models_is_refused_by_name(told: bytes, words: str) -> None:
    servers = both()
    answer = servers.say(servers.cores[0], servers.hello(1, told))
    assert isinstance(answer, Fault) and answer.code == "layout"
    assert words in answer.text
    assert rule_difference(BOTH, BOTH) == ""


def test_models_that_are_not_the_vector_are_refused() -> None:
    servers = both()
    wrong = pack(Rules(rules().models, [5, 4]))
    assert servers.say(servers.cores[0], servers.hello(1, wrong)).code == "refused:rule"


def test_a_checkpoint_of_one_model_is_none_of_several() -> None:
    one = Servers(b"", [*TENSORS["generator"], *TENSORS["critic"]])
    found = saved(one.cores[0])
    fresh = ServerCore(one.job, 0, 2, run="another")
    fresh.restore(found, 1.0)
    answer = one.say(fresh, one.hello(0, BOTH))
    assert isinstance(answer, Fault) and "the checkpoint is of other models" in answer.text
    with pytest.raises(ProtocolError):
        found.meta["rule"] = BOTH.decode()
        ServerCore(one.job, 0, 3, run="another").restore(found, 1.0)


@pytest.mark.parametrize("name", [name for name in names() if name not in TRAINED])
def test_strategies_that_need_one_model_refuse_several_in_a_sentence(name: str) -> None:
    spec = job(algorithm={"name": name}, stopAfter={"updates": 9}, optimizer={}, workers={"replicas": 6})
    core = ServerCore(spec, 0, 1)
    tensors = json.dumps([*TENSORS["generator"], *TENSORS["critic"]]).encode()
    message = Hello("check", "worker", 0, 1, 8, "a", tensors=tensors, rule=BOTH, own_loop=True)
    [(_, answer, _)] = core.receive(b"worker 0", message, None, 1.0)
    assert isinstance(answer, Fault)
    assert f"{name} trains one model a job, and the script connects generator and critic" in answer.text


def test_a_pull_may_be_about_a_model_or_about_all() -> None:
    servers = both(shards=3)
    for part, parts in ((0, 1), (0, 2), (1, 2)):
        for core in servers.cores:
            assert isinstance(servers.say(core, Pull("worker", 0, 1, 0, 1, part=part, parts=parts)), Reply)
    answer = servers.say(servers.cores[0], Pull("worker", 0, 1, 0, 1, part=2, parts=3))
    assert isinstance(answer, Fault)


@pytest.mark.parametrize("codec", ["fp32", "bf16", "int8", "topk", "onebit"])
def test_a_shard_that_holds_nothing_of_a_model_counts_its_steps_without_a_payload(codec: str) -> None:
    servers = both(shards=3, codec={"push": codec})
    last = servers.cores[2]  # elements 5 to 8, which are the critic's
    message = Exchange(0, 1, 1, 0, 0, 8, 1, True, True, codec=codec, part=0, parts=2)
    [(_, answer, body)] = last.receive(b"worker 0", message, None, 1.0)
    assert isinstance(answer, Reply) and answer.verdict == "applied"
    assert body is None and answer.models == [1, 0]


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8])
def test_models_cut_each_shard_without_gap_or_overlap(shards: int) -> None:
    edges = (0, 5, 6, 8)
    for shard in range(shards):
        whole = shard_range(8, shard, shards)
        cuts = Cuts(whole, edges)
        spans = [cuts.part(part, 3) for part in range(3)]
        assert [spans[0].start, *(span.stop for span in spans)] == [
            0, *(span.start for span in spans[1:]), whole.size,
        ]  # fmt: skip
        assert cuts.part(0, 1) == Range(0, whole.size)
        assert all(cuts.count(part, 3) == 1 for part in range(3))
