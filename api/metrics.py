"""GET /metrics: numbers for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).

What is about jobs comes from the ledger, and is the same whoever is asked and after every restart. How long requests
take is counted here, in files that the API's processes share (PROMETHEUS_MULTIPROC_DIR, which scripts/start.sh sets);
without those each process tells of itself.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from math import inf

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, current_app, g, request
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from api import openapi
from api.operations import Answer, described
from api.services import Services
from worker import jobs, presence, queue

bp = Blueprint("metrics", __name__)

_EXTENSION = "metrics"
_REQUEST_BOUNDS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, inf)


def init_app(app: Flask) -> None:
    """Measure every request. Call it first, so that what others do before a request counts as well."""
    registry = CollectorRegistry()
    seconds = Histogram(
        "experiment_etl_request_seconds",
        "From a request to the beginning of its answer; who waits for a job (`wait`) is among them",
        ("endpoint", "method", "status"),
        buckets=_REQUEST_BOUNDS_S,
        registry=None,
    )
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:  # nothing is shared
        registry.register(seconds)
    registry.register(Ledger(app.extensions["services"]))
    app.extensions[_EXTENSION] = registry

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def measure(response: Response) -> Response:
        # Only what is declared: whatever a stranger may ask for must not become a label.
        endpoint, method = (request.endpoint, request.method) if request.endpoint else ("", "")
        of_kind = seconds.labels(endpoint, method, f"{response.status_code // 100}xx")
        of_kind.observe(time.perf_counter() - g.began)
        return response


@bp.get("/metrics")
@described(Answer(None, media_types=("text/plain",)))
def show() -> Response:
    """Numbers for Prometheus: jobs, queue, stages, lines, rejections, workers, and how long requests take."""
    return Response(generate_latest(current_app.extensions[_EXTENSION]), content_type=CONTENT_TYPE_LATEST)


class Ledger(Collector):
    """What the ledger and the queue say in this moment. What cannot be asked is left out, and `up` says so."""

    def __init__(self, of: Services) -> None:
        self._services = of

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("experiment_etl_up", "Whether it answers", labels=["component"])
        for component, metrics in (("database", self._of_database), ("queue", self._of_queue)):
            try:
                found = metrics()
            except (SQLAlchemyError, queue.Unreachable):
                found = []
            up.add_metric([component], bool(found))
            yield from found
        yield up
        build = GaugeMetricFamily("experiment_etl_build_info", "Which version this is", labels=["version"])
        build.add_metric([openapi.project()["version"]], 1)
        yield build

    def _of_queue(self) -> list[Metric]:
        length = queue.length(self._services.redis)
        return [GaugeMetricFamily("experiment_etl_queue_messages", "Messages that no worker has taken", value=length)]

    def _of_database(self) -> list[Metric]:
        with self._services.engine.connect() as connection:
            return [*_gauges(connection), *_totals(connection)]


def _gauges(connection: sa.Connection) -> list[Metric]:
    queued, running, age_s = jobs.unfinished(connection)
    unfinished = GaugeMetricFamily("experiment_etl_jobs", "Jobs that have not ended", labels=["state"])
    unfinished.add_metric(["queued"], queued)
    unfinished.add_metric(["running"], running)
    return [
        unfinished,
        GaugeMetricFamily("experiment_etl_queue_age_seconds", "How long the oldest job has been waiting", value=age_s),
        GaugeMetricFamily("experiment_etl_workers", "Workers that are there", value=presence.count(connection)),
    ]


_COUNTERS = {
    "jobs": ("experiment_etl_jobs_ended", "Jobs that have ended", ["state", "outcome", "error"]),
    "lines": ("experiment_etl_lines", "Input lines of jobs that have ended, and what became of them", ["outcome"]),
    "rejections": ("experiment_etl_rejections", "Rejected lines and items of jobs that have ended", ["code"]),
}


def _totals(connection: sa.Connection) -> Iterator[Metric]:
    counters = {name: CounterMetricFamily(of[0], of[1], labels=of[2]) for name, of in _COUNTERS.items()}
    seconds: dict[str, float] = {}
    stages: dict[str, dict[float, float]] = defaultdict(dict)
    for name, labels, value in jobs.totals(connection):
        if name in counters:
            counters[name].add_metric([labels[label] for label in _COUNTERS[name][2]], value)
        elif name == "stage_ms":
            seconds[labels["stage"]] = value / 1000
        else:
            stages[labels["stage"]][float(labels["le"]) / 1000] = value
    yield from counters.values()
    histogram = HistogramMetricFamily(
        "experiment_etl_stage_seconds", "Duration of the stages of jobs that have ended", labels=["stage"]
    )
    for stage, found in stages.items():
        histogram.add_metric([stage], _cumulated(found), sum_value=seconds[stage])
    yield histogram


def _cumulated(found: dict[float, float]) -> list[tuple[str, float]]:
    """The number of those up to each bound, as Prometheus wants them."""
    bounds = {str(bound / 1000): bound / 1000 for bound in jobs.STAGE_BOUNDS_MS} | {"+Inf": inf}
    return [(le, sum(found[of] for of in found if of <= bound)) for le, bound in bounds.items()]
