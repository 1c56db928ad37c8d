"""Whether spans are wanted, and how many: OpenTelemetry's own variables, with its own meanings.

A value that is not known is said and left out, as OpenTelemetry asks of all its libraries: tracing ends no training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER, DISABLED = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"
SAMPLER, SAMPLER_ARG, QUEUE = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_BSP_MAX_QUEUE_SIZE"
PROTOCOL = "http/protobuf"
ALWAYS_ON, ALWAYS_OFF, RATIO = "always_on", "always_off", "traceidratio"
SAMPLERS = tuple(
    f"{prefix}{name}" for prefix in ("", "parentbased_") for name in (ALWAYS_ON, ALWAYS_OFF, RATIO)
)
QUEUE_MOST = 2048
"""OpenTelemetry's own default."""

Warn = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a process is traced."""

    sampler: str
    """One of `SAMPLERS`."""
    share: float
    """Of the traces, where the sampler goes by a ratio; 0 to 1."""
    queue: int
    """Ended spans that may wait for the exporter."""
    endpoint: str
    """As it was told; the exporter reads it by itself."""


def wanted(env: Mapping[str, str], share: float, warn: Warn) -> Settings | None:
    """None: no spans. `share`: of the traces, where no sampler is named; `warn` is told of values that are left out."""
    endpoint = next((env[name] for name in ENDPOINTS if env.get(name)), "")
    if not endpoint or env.get(DISABLED, "").strip().lower() == "true" or env.get(EXPORTER) == "none":
        return None
    exporter = env.get(EXPORTER) or "otlp"
    if exporter != "otlp":
        warn(f"no spans: {EXPORTER} is {exporter!r}; allowed: otlp, none")
        return None
    protocol = next((env[name] for name in PROTOCOLS if env.get(name)), PROTOCOL)
    if protocol != PROTOCOL:
        warn(f"no spans: {PROTOCOLS[1]} is {protocol!r}; allowed: {PROTOCOL} (port 4318 of most collectors)")
        return None
    sampler = env.get(SAMPLER) or f"parentbased_{RATIO}"
    if sampler not in SAMPLERS:
        warn(f"{SAMPLER}: {sampler!r} is left out; allowed: {', '.join(SAMPLERS)}")
        sampler = f"parentbased_{RATIO}"
    default = 1.0 if env.get(SAMPLER) == sampler else share
    return Settings(sampler, _ratio(env, default, warn), _queue(env, warn), endpoint)


def _ratio(env: Mapping[str, str], default: float, warn: Warn) -> float:
    text = env.get(SAMPLER_ARG)
    if not text:
        return default
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if 0 <= ratio <= 1:
        return ratio
    warn(f"{SAMPLER_ARG}: {text!r} is left out; allowed: a number from 0 to 1")
    return default


def _queue(env: Mapping[str, str], warn: Warn) -> int:
    text = env.get(QUEUE)
    if not text:
        return QUEUE_MOST
    if text.isdecimal() and int(text) > 0:
        return int(text)
    warn(f"{QUEUE}: {text!r} is left out; allowed: a whole number from 1")
    return QUEUE_MOST
