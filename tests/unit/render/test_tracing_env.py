"""Pods are told of a collector by OpenTelemetry's own variables, if the installation has one."""

from __future__ import annotations

from asgd_operator.render import Settings
from asgd_operator.render.model import Tracing
from tests.unit.render.builders import SETTINGS, environment, rendered

HERE = Settings(SETTINGS.server_image, SETTINGS.trainer_image, tracing=Tracing("http://c:4318", 0.5))
TOLD = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.5",
    "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=train",
}


def otel(workload: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in environment(workload).items() if name.startswith("OTEL_")}


def test_servers_and_workers_are_told_alike_and_the_evaluator_is_not_traced() -> None:
    made = rendered(settings=HERE)
    assert otel(made.servers) == otel(made.workers) == TOLD and otel(made.evaluator) == {}


def test_without_a_collector_nothing_is_told() -> None:
    made = rendered()
    assert otel(made.servers) == otel(made.workers) == {}


def test_a_job_s_own_template_goes_before() -> None:
    own = "workers.podTemplate={spec: {containers: [{name: asgd, env: [{name: OTEL_TRACES_SAMPLER_ARG, value: '1'}]}]}}"
    made = rendered(own, settings=HERE)
    assert otel(made.workers) == TOLD | {"OTEL_TRACES_SAMPLER_ARG": "1"} and otel(made.servers) == TOLD
