"""OpenTelemetry's own variables, with its own meanings; what is wrong in them is said and left out."""

from __future__ import annotations

import pytest

from asgd.tracing.settings import Settings, wanted

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}


def silent(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**HERE, "OTEL_SDK_DISABLED": "true"},
        {**HERE, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_on"},
    ],
)
def test_nothing_is_traced_unless_a_collector_is_named(env: dict[str, str]) -> None:
    assert wanted(env, 0.01, silent) is None


def test_a_hundredth_is_traced_unless_the_sampler_is_named() -> None:
    assert wanted(HERE, 0.01, silent) == Settings("parentbased_traceidratio", 0.01, 2048, "http://c:4318")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"OTEL_TRACES_SAMPLER_ARG": "0.5"}, ("parentbased_traceidratio", 0.5)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, ("traceidratio", 0.0)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, ("traceidratio", 1.0)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, ("always_off", 1.0)),
    ],
)
def test_the_sampler_and_its_argument_are_as_told(env: dict[str, str], expected: tuple[str, float]) -> None:
    found = wanted(HERE | env, 0.01, silent)
    assert found is not None and (found.sampler, found.share) == expected


def test_the_traces_own_endpoint_goes_before_the_common_one() -> None:
    found = wanted(HERE | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/v1/traces"}, 0.01, silent)
    assert found is not None and found.endpoint == "http://t/v1/traces"


@pytest.mark.parametrize(
    ("env", "sentence", "traced"),
    [
        (
            {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
            "OTEL_TRACES_SAMPLER: 'jaeger_remote' is left out; allowed: a",
            True,
        ),
        (
            {"OTEL_TRACES_SAMPLER_ARG": "1.5"},
            "OTEL_TRACES_SAMPLER_ARG: '1.5' is left out; allowed: a number",
            True,
        ),
        ({"OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG: 'nan' is left out", True),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            "OTEL_BSP_MAX_QUEUE_SIZE: '-1' is left out; allowed: a whole",
            True,
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; allowed: http/",
            False,
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'; allowed: otlp, none", False),
    ],
)
def test_a_wrong_value_is_said_and_ends_nothing(env: dict[str, str], sentence: str, traced: bool) -> None:
    said: list[str] = []
    found = wanted(HERE | env, 0.01, said.append)
    assert len(said) == 1 and sentence in said[0]
    assert (found is not None) == traced
    if found:
        assert (found.sampler, found.share, found.queue) == ("parentbased_traceidratio", 0.01, 2048)
