"""A script's own loader is dealt out: an epoch of its loop is one of the job, whoever takes part, however it steps."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from asgd.errors import UserError
from asgd.worker.own.connection import Connection
from asgd.worker.own.order import order_of
from asgd.worker.own.sharing import is_count
from asgd.worker.reading.order import epoch_order
from tests.unit.worker.own_rig import BATCH, Job

SIZE = 40


class Numbers(Dataset[torch.Tensor]):
    def __init__(self, size: int = SIZE) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([float(index)])


def loader(size: int = SIZE, **options: Any) -> DataLoader[Any]:
    return DataLoader(Numbers(size), **({"batch_size": BATCH, "shuffle": True} | options))


def numbers(batch: torch.Tensor) -> list[int]:
    return [int(number) for number in batch.flatten()]


def together(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def step(model: nn.Module, optimizer: Connection, batch: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(batch).mean().backward()
    optimizer.step()


def walk(job: Job, index: int, data: DataLoader[Any], passes: int) -> Iterator[tuple[int, list[int]]]:
    """A script's loop; gives (pass, samples) of each of its batches."""
    model = nn.Linear(1, 1)
    optimizer = job.connect(model, index)
    for number in optimizer.until_stopped(range(passes)):
        for batch in optimizer.until_stopped(data):
            step(model, optimizer, batch)
            yield number, numbers(batch)
    optimizer.close()


def by_turns(*loops: Iterator[tuple[int, list[int]]]) -> list[list[tuple[int, list[int]]]]:
    seen: list[list[tuple[int, list[int]]]] = [[] for _ in loops]
    open_loops = dict(enumerate(loops))
    while open_loops:
        for worker, loop in list(open_loops.items()):
            item = next(loop, None)
            if item is None:
                del open_loops[worker]
            else:
                seen[worker].append(item)
    return seen


def test_two_workers_see_every_sample_once_in_each_pass() -> None:
    job = Job(stopAfter={"epochs": 3})
    seen = by_turns(*(walk(job, index, loader(), 3) for index in range(2)))
    for number in range(3):
        came = [sample for worker in seen for at, samples in worker if at == number for sample in samples]
        assert sorted(came) == list(range(SIZE))
    assert all(worker for worker in seen)
    assert job.stop == "epochs"
    assert job.samples == 3 * SIZE, "the samples of a push are those that were dealt for it"


def test_an_epoch_of_a_job_without_a_bound_ends_with_what_is_handed_out() -> None:
    seen = by_turns(*(walk(Job(), 0, loader(), 2) for _ in range(1)))[0]
    assert [number for number, _ in seen] == [0] * 10 + [1] * 10


def test_shuffled_loaders_follow_the_jobs_order_and_others_that_of_the_data() -> None:
    shuffled = [samples for _, samples in walk(Job(seed=5), 0, loader(), 1)]
    assert together(shuffled) == epoch_order(5, 0, SIZE).tolist()
    plain = [samples for _, samples in walk(Job(), 0, loader(shuffle=False), 1)]
    assert together(plain) == list(range(SIZE))


def test_one_worker_without_shuffling_trains_as_plain_pytorch_does() -> None:
    torch.manual_seed(0)
    x = torch.randn(SIZE, 3)
    data = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), BATCH)
    models = [nn.Linear(3, 1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ours, plain = Job().connect(models[0]), torch.optim.SGD(models[1].parameters(), lr=0.1)
    curves: list[list[float]] = []
    for model, optimizer in zip(models, (ours, plain), strict=True):
        curve = []
        for _ in range(2):
            for a, b in ours.until_stopped(data) if optimizer is ours else data:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(a), b)
                loss.backward()
                optimizer.step()
                curve.append(float(loss.detach()))
        curves.append(curve)
    assert curves[0] == pytest.approx(curves[1], abs=1e-6)
    assert len(curves[0]) == 20


def test_the_users_loader_keeps_what_it_does_beside_sampling() -> None:
    class Doubled(DataLoader[Any]):
        def __iter__(self) -> Any:
            return (2 * batch for batch in super().__iter__())

    data = Doubled(
        Numbers(), batch_size=BATCH, collate_fn=lambda samples: torch.stack(samples) + 1, num_workers=2
    )
    came = [samples for _, samples in walk(Job(), 0, data, 2)]
    assert together(came) == [2 * (sample + 1) for sample in range(SIZE)] * 2


def test_batches_that_are_dropped_for_being_short_count_as_visited() -> None:
    job = Job(stopAfter={"epochs": 2})
    seen = by_turns(*(walk(job, index, loader(SIZE + 2, drop_last=True), 9) for index in range(2)))
    assert job.stop == "epochs"
    assert {len(samples) for worker in seen for _, samples in worker} == {BATCH}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_loop_that_steps_on_every_third_batch_alone_comes_to_the_jobs_end(workers: int) -> None:
    def accumulate(job: Job, index: int) -> Iterator[tuple[int, list[int]]]:
        model = nn.Linear(1, 1)
        optimizer = job.connect(model, index)
        for number in optimizer.until_stopped(range(99)):
            for place, batch in enumerate(optimizer.until_stopped(loader(SIZE + 1))):
                model(batch).mean().backward()
                if place % 3 == 2:
                    optimizer.step()
                    optimizer.zero_grad()
                yield number, numbers(batch)
        optimizer.close()

    job = Job(stopAfter={"epochs": 2})
    with ThreadPoolExecutor(workers) as threads:
        seen = list(threads.map(lambda index: list(accumulate(job, index)), range(workers)))
    assert job.stop == "epochs"
    came = sorted(sample for worker in seen for _, samples in worker for sample in samples)
    assert came == sorted([*range(SIZE + 1)] * 2), "every sample came out once an epoch"


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}])
def test_a_loop_that_breaks_off_goes_on_where_it_was(options: dict[str, Any]) -> None:
    job = Job()
    model = nn.Linear(1, 1)
    optimizer, data = job.connect(model), loader(shuffle=False, **options)
    came: list[int] = []
    for _ in range(5):
        for place, batch in enumerate(optimizer.until_stopped(data)):
            step(model, optimizer, batch)
            came += numbers(batch)
            if place == 1:
                break
    assert came == list(range(SIZE))


@pytest.mark.slow
def test_a_range_that_went_to_others_is_left_out() -> None:
    job = Job()
    model = nn.Linear(1, 1)
    optimizer = job.connect(model)
    optimizer._leasing.lost.add((0, 4, 8))  # type: ignore[attr-defined]
    came = [numbers(batch) for batch in optimizer.until_stopped(loader(shuffle=False))]
    assert [0, 1, 2, 3] in came
    assert [4, 5, 6, 7] not in came


@pytest.mark.slow
def test_what_a_dead_worker_held_is_read_by_others() -> None:
    job = Job(stopAfter={"epochs": 1})
    dying, other = walk(job, 0, loader(), 1), walk(job, 1, loader(), 1)
    first = [next(dying)[1], next(other)[1]]
    assert job.pool
    job.pool.release(0)
    rest = [samples for _, samples in other]
    assert sorted(together(first[1:] + rest)) == sorted(set(range(SIZE)) - set(first[0]))
    assert job.stop == "epochs"


def test_leases_are_multiples_of_the_users_batch() -> None:
    job = Job(batchSize=2)
    came = [samples for _, samples in walk(job, 0, loader(batch_size=8), 1)]
    assert [len(samples) for samples in came] == [8] * 5


def test_micro_batches_that_add_up_to_the_jobs_batch_come_from_one_range() -> None:
    job = Job(batchSize=8)
    next(walk(job, 0, loader(80, batch_size=4), 1))
    assert job.pool
    assert job.pool.cursor == 16, "with ranges of whole batches of 4 alone it would be 20"


def test_the_servers_are_told_the_size_of_an_epoch_and_what_is_promised() -> None:
    job = Job()
    next(walk(job, 0, loader(), 1))
    assert [(who.dataset, who.guarantee) for who in job.told] == [(SIZE, "every sample once an epoch")]


def test_other_data_and_a_second_pass_at_once_are_refused_with_the_way_out() -> None:
    optimizer = Job().connect(nn.Linear(1, 1))
    first = iter(optimizer.until_stopped(loader()))
    next(first)
    with pytest.raises(UserError, match=r"under way.*deal=False"):
        next(iter(optimizer.until_stopped(loader())))
    first.close()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"12 samples, and this job deals out 40; pass deal=False"):
        next(iter(optimizer.until_stopped(loader(12))))
    assert len(list(optimizer.until_stopped(loader(12), deal=False))) == 3


def test_opting_out_is_one_keyword() -> None:
    job = Job(workers={"replicas": 2})
    for index in range(2):
        optimizer = job.connect(nn.Linear(1, 1), index)
        came = [numbers(batch) for batch in optimizer.until_stopped(loader(shuffle=False), deal=False)]
        assert together(came) == list(range(SIZE))
    assert job.pool is None


# -- what is no map-style loader -----------------------------------------------------------------------


class Stream(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return (torch.tensor([float(number)]) for number in range(SIZE))


def stream() -> Any:
    return DataLoader(Stream(), BATCH)


def generator() -> Any:
    return (torch.arange(4.0) + 4 * number for number in range(10))


def weighted() -> Any:
    sampler = list(range(SIZE))
    return DataLoader(Numbers(), BATCH, sampler=sampler)


@pytest.mark.parametrize("make", [stream, generator, weighted])
def test_of_data_that_nobody_can_deal_each_worker_takes_every_nth_batch(make: Any) -> None:
    job = Job(workers={"replicas": 3})
    came = [
        [numbers(batch)[0] // 4 for batch in job.connect(nn.Linear(1, 1), index).until_stopped(make())]
        for index in range(3)
    ]
    assert came == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    alone = Job(workers={"replicas": 1}).connect(nn.Linear(1, 1))
    assert len(list(alone.until_stopped(make()))) == 10


def test_a_sampler_that_gives_each_process_its_share_is_left_alone() -> None:
    job = Job(workers={"replicas": 2})
    sampler: Any = DistributedSampler(Numbers(), num_replicas=2, rank=1, shuffle=False)
    optimizer = job.connect(nn.Linear(1, 1), 1)
    assert len(list(optimizer.until_stopped(DataLoader(Numbers(), BATCH, sampler=sampler)))) == 5


@pytest.mark.parametrize("items", [range(7), [*range(7)], ["a"] * 7, zip(range(7), [0.1] * 7, strict=True)])
def test_loops_over_numbers_are_the_same_in_every_worker(items: Any) -> None:
    data = items if not isinstance(items, list) or isinstance(items[0], int) else None
    if data is None:
        assert not is_count(items[0]), "words may be data"
        return
    optimizer = Job(workers={"replicas": 2}).connect(nn.Linear(1, 1), 1)
    assert len(list(optimizer.until_stopped(data))) == 7


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"shuffle": True}, SIZE),
        ({"shuffle": False}, SIZE),
        ({"shuffle": False, "sampler": SubsetRandomSampler(range(5, 12))}, 7),
        ({"shuffle": False, "sampler": RandomSampler(Numbers(), replacement=True)}, None),
        ({"shuffle": False, "sampler": RandomSampler(Numbers(), num_samples=3)}, None),
        ({"shuffle": False, "sampler": WeightedRandomSampler([1.0] * SIZE, SIZE)}, None),
        ({"shuffle": False, "batch_size": None}, SIZE),
    ],
)
def test_samplers_that_visit_every_sample_once_are_dealt(options: Any, size: int | None) -> None:
    order = order_of(loader(**options), 0)
    assert (order.size if order else None) == size


def test_a_subset_is_dealt_over_its_own_indices() -> None:
    data = loader(shuffle=False, sampler=SubsetRandomSampler([3, 5, 7, 9, 11]))
    came = [samples for _, samples in walk(Job(), 0, data, 1)]
    assert sorted(together(came)) == [3, 5, 7, 9, 11]


def test_a_loader_without_batches_is_dealt_item_by_item() -> None:
    came = [samples for _, samples in walk(Job(), 0, loader(shuffle=False, batch_size=None), 1)]
    assert came == [[number] for number in range(SIZE)]


def test_a_pass_tells_how_long_it_will_be() -> None:
    optimizer = Job(workers={"replicas": 4}).connect(nn.Linear(1, 1))
    assert len(optimizer.until_stopped(loader())) == 3, "10 batches by 4 workers"
    assert len(optimizer.until_stopped(range(5))) == 5
    with pytest.raises(TypeError):
        len(optimizer.until_stopped(generator()))


def test_epochs_need_batches_that_are_dealt() -> None:
    model = nn.Linear(1, 1)
    optimizer = Job(stopAfter={"epochs": 2}).connect(model)
    model(torch.ones(2, 1)).mean().backward()
    with pytest.raises(UserError, match=r"^spec\.stopAfter\.epochs: 2, .*until_stopped\(loader\)"):
        optimizer.step()
