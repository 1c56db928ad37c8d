"""The cost model: closed forms for what must come out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from asgd_bench import model, scaling
from asgd_bench.derived import check_model
from asgd_bench.model import Fleet, Price
from asgd_bench.results import Table
from tests.unit.bench.builders import line, page


def test_a_price_that_generated_the_figures_is_found_again() -> None:
    price = Price(2e-4, 5e-10)
    found = model.fit([(size, price.of(size)) for size in (8e6, 80e6, 400e6)])
    assert math.isclose(found.each, price.each, rel_tol=1e-9)
    assert math.isclose(found.per_byte, price.per_byte, rel_tol=1e-9)


def test_a_price_is_never_negative() -> None:
    assert model.fit([(1.0, 2.0), (2.0, 1.0)]).per_byte == 0
    assert model.fit([(10.0, 1.0), (20.0, 3.0)]).each == 0


def test_one_size_is_too_few_for_a_price() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        model.fit([(1.0, 2.0), (1.0, 3.0)])


def test_enough_shards_and_not_one_more_than_the_bytes_need() -> None:
    fleet = Fleet(parameters=10_000_000, workers=64, step_seconds=1.0, link=math.inf)
    price = Price(1e-5, 4e-10)
    found = model.need(fleet, price)

    def load(shards: int) -> float:
        return found.updates_per_second * (price.each + price.per_byte * found.bytes_each / shards)

    assert found.bound == "cpu"
    assert load(found.shards) <= model.USABLE < load(found.shards - 1)


def test_a_slow_link_decides_before_the_processor_does() -> None:
    fleet = Fleet(parameters=10_000_000, workers=8, step_seconds=1.0, link=125e6)
    found = model.need(fleet, Price(1e-5, 4e-10))
    assert found.bound == "link"
    assert found.shards == math.ceil(found.updates_per_second * 40e6 / (model.USABLE * 125e6))


def test_messages_are_a_ceiling_that_no_number_of_shards_lifts() -> None:
    price = Price(2e-4, 1e-12)
    few = model.need(Fleet(5_000, 100, 0.1, math.inf), price)
    many = model.need(Fleet(5_000, 1_000, 0.1, math.inf), price)
    assert few.shards == 1
    assert many.bound == "message"
    assert many.shards == 0


def test_bytes_of_the_codecs() -> None:
    assert sum(model.payload(1000, "fp32", "fp32")) == 8000
    assert sum(model.payload(1000, "bf16", "bf16")) == 4000
    assert model.payload(1000, "int8", "fp32")[0] < 1020


def test_memory_of_a_server_counts_weights_state_and_connections() -> None:
    one, two = model.server_bytes(1000, 0, 0), model.server_bytes(1000, 2, 3)
    assert two - one == 2 * 4000 + 3 * model.CONNECTION_BYTES


def test_the_stable_rate_is_two_without_delay_and_falls_with_it() -> None:
    assert math.isclose(model.largest_rate(0), 2.0)
    assert math.isclose(model.largest_rate(1), 1.0)
    assert math.isclose(model.largest_rate(500) * 2 * 500, math.pi, rel_tol=2e-3)


def test_a_page_with_three_sizes_holds_the_model_against_the_third() -> None:
    price = Price(1e-3, 5e-10)
    tables = [
        Table(
            f"TCP, {size:g}M parameters, 2 workers",
            "updates/s",
            [line("ours", 1.0, cpu=price.of(8e6 * size))],
        )
        for size in (1, 10, 50)
    ]
    found = check_model(page(*tables))
    assert found is not None
    told = {one.name: one.more for one in found.tables[0].lines}
    assert told["ours, 50M parameters, 2 workers"]["predicted / measured"] == "1.00"
    assert told["ours, 1M parameters, 2 workers"]["predicted / measured"] == "fitted"
    assert check_model(page(tables[0])) is None


def test_the_page_on_scaling_shows_what_the_model_says() -> None:
    text = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert scaling.table(scaling.server_price(None)) in text
