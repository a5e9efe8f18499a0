"""What the model server counts, for Prometheus. No label's value comes from the content of a request."""

from __future__ import annotations

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from nbship.package.records import Findings

REQUESTS = Counter(
    "nbship_requests", "Requests for predictions, by the answer's status", ["model", "protocol", "status"]
)
SECONDS = Histogram(
    "nbship_request_seconds",
    "Seconds from a request's headers to its answer",
    ["model", "protocol"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
RECORDS = Counter("nbship_records", "Records that were predicted", ["model"])
REJECTED = Counter(
    "nbship_rejected_values", "Values that did not fit the model's columns", ["model", "field", "reason"]
)
FLAGGED = Counter(
    "nbship_flagged_values",
    "Values unlike those in training that were predicted",
    ["model", "field", "reason"],
)
FALLBACKS = Counter(
    "nbship_compiled_failures",
    "Requests that the compiled model failed on and the pipeline answered",
    ["model"],
)
UNKEPT = Counter("nbship_lost_records", "Records that were answered and could not be kept", ["model"])
LOADS = Counter("nbship_model_loads", "Times that the model was loaded again", ["model", "outcome"])


def count_request(model: str, protocol: str, status: int, seconds: float) -> None:
    """Counts a request for predictions that has been answered."""
    REQUESTS.labels(model, protocol, status).inc()
    SECONDS.labels(model, protocol).observe(seconds)


def count_findings(counter: Counter, model: str, findings: Findings) -> None:
    """Counts problems by field and reason; fields that the model does not have are one."""
    for (field, reason), count in findings.counts.items():
        counter.labels(model, "" if reason == "unknown" else field, reason).inc(count)


def exposition() -> bytes:
    """Returns all metrics as Prometheus reads them: of all worker processes, if there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
