"""The service's requests and its sample job beside a bare Flask + Celery + Redis app (tests/bench/bare), in turn.

Both have one Postgres, one Redis, the service's gunicorn settings and one worker. Prints tables, and appends a line of
JSON for every series to --out.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.load import Target, latencies_ms, requests_per_second
from tests.bench.programs import ROOT, App, apps
from tests.servers import wait_until

FORCED = '{"force":true}'
STAGES = ("queued", "extract", "validate", "derive", "load", "publish")
PARTS = ("jobs", "requests")
PACED_S = 10
# Who cannot wait for a job looks again and again.
_LOOK_S = 0.002
# Between two jobs, so that none has to wait for what the one before leaves to be done.
_REST_S = 0.05

Ask = Callable[[str, str, str | None], Any]
Figures = dict[str, float]


class Bench:
    """Takes series of numbers."""

    def __init__(self, service: App, bare: App, folder: Path) -> None:
        self.service, self.bare = service, bare
        self._folder = folder
        self.series: dict[str, list[float]] = defaultdict(list)

    def jobs(self, number: int) -> None:
        """Time jobs from the POST to the answer that says so, as a client sees it; in ms."""
        with _client(self.service) as ask, _client(self.bare) as ask_bare:
            forced, unforced, bare = partial(_job, ask, FORCED), partial(_job, ask, "{}"), partial(_bare_job, ask_bare)
            for _ in range(5):
                forced()
                bare()
            for _ in range(number):
                job = self._time("job: service", forced)
                for stage in STAGES:
                    self.series[f"job: {stage}"].append(job["timings_ms"][stage])
                self._time("job: bare", bare)
            for _ in range(number):
                job = self._time("unchanged job: service", unforced)
                if job["outcome"] != "unchanged":
                    raise SystemExit(f"not unchanged: {job}")

    def rates(self, name: str, targets: Mapping[str, Target], rounds: int, seconds: int) -> None:
        """Ask as often as it takes; answers a second."""
        for _ in range(rounds):
            for of, target in targets.items():
                rate = requests_per_second(target, seconds, self._folder)
                self.series[f"{name}: {of}"].append(rate)
                print(f"  {name}: {of} {rate:.0f}/s", file=sys.stderr)
                self._forget_waiting()

    def paced(self, name: str, target: Target) -> None:
        """Ask half as often as it takes; in ms."""
        per_second = statistics.median(self.series[f"{name}: service"]) / 2
        self.series[f"{name}, half of that: service"] = latencies_ms(target, per_second, PACED_S)
        self._forget_waiting()

    def _time(self, name: str, run: Callable[[], Any]) -> Any:
        time.sleep(_REST_S)
        started = time.monotonic()
        result = run()
        self.series[name].append(1000 * (time.monotonic() - started))
        return result

    def _forget_waiting(self) -> None:
        """A round has no more rows to wade through than the one before."""
        for app in (self.service, self.bare):
            app.query("DELETE FROM jobs WHERE state = 'queued'")
            app.query("VACUUM ANALYZE jobs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh latency", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--jobs", type=int, default=200, help="how many sample jobs of each app")
    parser.add_argument("--rounds", type=int, default=3, help="how often the apps take turns under load")
    parser.add_argument("--seconds", type=int, default=3, help="how long one load lasts")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/bench/latency.jsonl")
    given = parser.parse_args()
    with TemporaryDirectory() as folder, apps(Path(folder)) as (service, bare), ExitStack() as stack:
        bench = Bench(service, bare, Path(folder))
        posts = {"service": Target(service.port, "/api/v1/jobs", FORCED), "bare": Target(bare.port, "/jobs", "")}
        with service.working(), bare.working():
            wait_until(lambda: _is_warm(service), "the worker is warm")
            stack.enter_context(service.sweeping())
            for app in (service, bare):
                stack.enter_context(app.serving())
            if "jobs" in given.parts:
                bench.jobs(given.jobs)
            else:
                bench.jobs(1)  # for the GET
                bench.series.clear()
            if "requests" in given.parts:
                bench.rates("POST, worker running", posts, given.rounds, given.seconds)
        if "requests" in given.parts:
            gets = {
                "service": Target(service.port, f"/api/v1/jobs/{_last_job(service)}"),
                "hello": Target(bare.port, "/hello"),
                "bare": Target(bare.port, f"/jobs/{_last_job(bare)}"),
            }
            for name, targets in {"POST, worker stopped": posts, "GET": gets}.items():
                bench.rates(name, targets, given.rounds, given.seconds)
                bench.paced(name, targets["service"])
    with given.out.open("a") as file:
        file.writelines(json.dumps({"series": name} | _figures(of)) + "\n" for name, of in bench.series.items())
    _print(bench.series)


def _is_warm(service: App) -> bool:
    has_schema = service.query("SELECT to_regclass('worker_heartbeats')") != [(None,)]
    return has_schema and service.query("SELECT count(*) FROM worker_heartbeats") != [(0,)]


def _last_job(app: App) -> Any:
    [(job_id,)] = app.query("SELECT id FROM jobs WHERE state = 'succeeded' ORDER BY finished_at DESC LIMIT 1")
    return job_id


@contextmanager
def _client(app: App) -> Iterator[Ask]:
    """Ask over one connection."""
    connection = HTTPConnection("127.0.0.1", app.port, timeout=60)

    def ask(method: str, path: str, body: str | None = None) -> Any:
        connection.request(method, path, body, {} if body is None else {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status not in (200, 202):
            raise SystemExit(f"{method} {path}: {response.status} {answer!r}")
        return json.loads(answer)

    yield ask
    connection.close()


def _job(ask: Ask, body: str) -> Any:
    submitted = ask("POST", "/api/v1/jobs", body)
    job = ask("GET", f"/api/v1/jobs/{submitted['id']}?wait=30", None)
    if job["state"] != "succeeded":
        raise SystemExit(f"not succeeded: {job}")
    return job


def _bare_job(ask: Ask) -> None:
    job = ask("POST", "/jobs", "")
    while ask("GET", f"/jobs/{job['id']}", None)["state"] != "succeeded":
        time.sleep(_LOOK_S)


def _figures(values: list[float]) -> Figures:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "p95": round(_percentile(ordered, 0.95), 1),
        "p99": round(_percentile(ordered, 0.99), 1),
        "least": round(ordered[0], 1),
        "most": round(ordered[-1], 1),
        "number": len(ordered),
    }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _print(series: Mapping[str, list[float]]) -> None:
    figures = {name: _figures(values) for name, values in series.items()}
    print("| series | median | p95 | p99 | range | number |\n|---|---|---|---|---|---|")
    for name, of in figures.items():
        print(f"| {name} | {of['median']} | {of['p95']} | {of['p99']} | {of['least']}-{of['most']} | {of['number']} |")
    print("\n| goal | | measured | |\n|---|---|---|---|")
    for goal, is_least, bound, measured in _goals(figures):
        holds = measured >= bound if is_least else measured <= bound
        print(f"| {goal} | {'>=' if is_least else '<='} {bound} | {measured:.2f} | {'holds' if holds else 'missed'} |")


def _goals(figures: Mapping[str, Figures]) -> Iterator[tuple[str, bool, float, float]]:
    """Yield each goal with whether it is the least that is wanted, the bound, and what was measured."""

    def ratio(name: str, other: str) -> float:
        return figures[f"{name}: service"]["median"] / figures[f"{name}: {other}"]["median"]

    if "job: service" in figures:
        yield "sample job, median / bare app's", False, 2, ratio("job", "bare")
        yield "sample job, p95 in ms", False, 250, figures["job: service"]["p95"]
        yield "unchanged job, median in ms", False, 30, figures["unchanged job: service"]["median"]
    if "GET: service" in figures:
        for name in ("POST, worker running", "POST, worker stopped"):
            yield f"{name}, rate / bare app's", True, 0.9, ratio(name, "bare")
        yield "GET, rate / hello world's", True, 0.65, ratio("GET", "hello")
        for name in ("POST, worker stopped", "GET"):
            yield f"{name}, p99 in ms at half of its rate", False, 20, figures[f"{name}, half of that: service"]["p99"]


if __name__ == "__main__":
    main()
