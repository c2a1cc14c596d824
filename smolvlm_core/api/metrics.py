"""Figures for Prometheus. Knows names and units; not routes."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from smolvlm_core.prompt.generation import Stats

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600)


class Metrics:
    """Of one server. `running`: how many requests run and wait now."""

    def __init__(self, running: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        name = "smolvlm_lens_"
        self._requests = Counter(
            f"{name}requests", "Chat requests by model and HTTP status", ["model", "status"], registry=self.registry
        )
        self._tokens = Counter(f"{name}tokens", "Tokens by kind", ["model", "kind"], registry=self.registry)
        self._first = Histogram(
            f"{name}time_to_first_token_seconds",
            "From the start of prefill to the first token",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._total = Histogram(
            f"{name}request_seconds",
            "Whole answers, as the backend measures them: queueing and loading included",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._queued = Histogram(
            f"{name}queue_seconds", "Waiting for other answers", ["model"], buckets=SECONDS, registry=self.registry
        )
        Gauge(f"{name}requests_running", "Requests that run and wait", registry=self.registry).set_function(running)

    def answered(self, model: str, stats: Stats) -> None:
        for kind, count in (
            ("prompt", stats.prompt_tokens),
            ("reused", stats.reused_tokens),
            ("image", stats.image_tokens),
            ("new", stats.new_tokens),
        ):
            self._tokens.labels(model, kind).inc(count)
        self._total.labels(model).observe(stats.total_seconds)
        self._queued.labels(model).observe(stats.queued_seconds)
        if stats.time_to_first_token_seconds is not None:
            self._first.labels(model).observe(stats.time_to_first_token_seconds)

    def ended(self, model: str, status: int) -> None:
        self._requests.labels(model, str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
