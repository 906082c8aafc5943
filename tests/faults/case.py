"""One case: a service that is watched, what is injected, how long the recovery took, and what did not hold."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from tests.container.service import Containers
from tests.faults import invariants
from tests.faults.figures import Figure
from tests.faults.inputs import Inputs, sample
from tests.faults.report import Result
from tests.faults.service import FINAL_STATES, Service
from tests.faults.session import Unavailable
from tests.faults.start import start_roles, start_whole, start_with_outside_redis
from tests.faults.watch import Breach, Watch
from tests.servers import StrPath, wait_until

IS_LONG = bool(os.environ.get("FAULTS_LONG"))
DRAINING_WITHIN_S = 60
FINAL_WITHIN_S = 300


class Case:
    """`service` and `watch` are those that were started last."""

    service: Service
    watch: Watch | None = None

    def __init__(self, name: str, containers: Containers, directory: Path) -> None:
        self.result = Result(name)
        self.is_checked = False
        self.containers = containers
        self._directory = directory
        self._services: list[Service] = []

    def times(self, *, short: int, long: int) -> int:
        return long if IS_LONG else short

    def wait_for_a_moment(self, number: int) -> None:
        """Wait before the kill of this number; supervisord gives up what dies in 10 s four times in a row."""
        time.sleep(random.uniform(1, 4) if number % 3 else random.uniform(11, 14))

    # --- set up

    def inputs(self, make: Callable[[Path], Inputs] = sample) -> Inputs:
        return make(Path(mkdtemp(dir=self._directory)))

    def start(self, inputs: Inputs | None = None, *options: StrPath) -> Service:
        """Start the whole service in a container, watch it, and publish a first version."""
        return self._begin(start_whole(self.containers, inputs or self.inputs(), *options))

    def start_with_outside_redis(self, inputs: Inputs) -> Service:
        return self._begin(start_with_outside_redis(self.containers, inputs))

    def start_roles(self, inputs: Inputs, **worker_options: list[str]) -> Service:
        """The same with a container for each role; `worker_options` names the workers."""
        return self._begin(start_roles(self.containers, inputs, worker_options))

    def start_unprepared(self, inputs: Inputs | None = None, *options: StrPath) -> Service:
        """Start without waiting for anything; the API is excused until the first recovery."""
        self.service = start_whole(self.containers, inputs or self.inputs(), *options)
        self._begin_to_watch()
        self.api_goes_down()
        return self.service

    def _begin(self, service: Service) -> Service:
        self.service = service
        service.wait_until_ready()
        service.tables = service.table_names()
        self._begin_to_watch()
        first = service.finished(service.post_until_accepted())
        assert first["outcome"] == "published", first
        return service

    def _begin_to_watch(self) -> None:
        self._services.append(self.service)
        self.watch = Watch(self.service)
        self.is_checked = False

    # --- inject and recover

    def api_goes_down(self) -> None:
        """From here until it has recovered nobody expects the API to answer."""
        assert self.watch
        self.watch.health.excused = True

    def recover(self) -> str:
        """Call this right after the injection's end. Returns the fresh job's id.

        Waits until a fresh job has succeeded and every job accepted before it is final, and notes how long that took.
        """
        assert self.watch
        service, ended = self.service, time.monotonic()
        fresh = service.post_until_accepted()
        self.watch.health.excused = False
        service.tables = service.tables or service.table_names()
        waited_for, is_draining_checked = set(service.accepted), False
        while left := self._not_final(waited_for):
            waited_s = time.monotonic() - ended
            if waited_s > DRAINING_WITHIN_S and not is_draining_checked:
                self.result.broken += invariants.nothing_waits_in_vain(service)
                is_draining_checked = True
            assert waited_s < FINAL_WITHIN_S, f"I2 not final after {FINAL_WITHIN_S} s: {left}"
            time.sleep(0.2)
        self.result.runs += 1
        self.result.recoveries_s.append(round(time.monotonic() - ended, 2))
        if (job := service.job(fresh))["state"] != "succeeded":
            self.result.broken.append(f"I2 a fresh job did not succeed: {job}")
        return fresh

    def _not_final(self, job_ids: set[str]) -> set[str]:
        try:
            rows = self.service.rows("SELECT id, state FROM jobs")
        except Unavailable:
            return job_ids
        return job_ids - {row["id"] for row in rows if row["state"] in FINAL_STATES} if rows else job_ids

    # --- check

    def check(self) -> None:
        """End the watch and check every invariant. A service can be checked once."""
        assert self.watch
        wait_until(
            lambda: not self._not_final(set(self.service.accepted)), "every job is final", seconds=FINAL_WITHIN_S
        )
        self.watch.states.look()
        self.close()
        self.result.broken += invariants.breaches(self.service)
        self.is_checked = True
        assert not self.result.broken, "\n".join(self.result.broken)

    def close(self) -> None:
        """Stop watching and keep what was seen."""
        if not self.watch:
            return
        watch, self.watch = self.watch, None
        watch.stop()
        self.result.broken += watch.breaches
        self.result.reader_slowest_s = max(self.result.reader_slowest_s, round(watch.reader.slowest_s, 3))
        self.result.health_slowest_s = max(self.result.health_slowest_s, round(watch.health.slowest_s, 3))

    def end(self) -> None:
        self.close()
        for service in self._services:
            service.close()

    def breach(self, breach: Breach) -> None:
        """Count a breach, and go on."""
        self.result.broken.append(breach)

    def measured(self, name: str, value: float, unit: str, *, goal: float | None = None) -> Figure:
        """Keep a figure for the table. One that misses its goal breaks nothing by itself."""
        figure = Figure(name, round(value, 3), unit, goal)
        self.result.figures.append(figure)
        return figure
