"""A job's lease: renewed from a thread of its own while the job runs, and the place where it tells how far it is."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from etl.progress import Progress
from worker import database, jobs, logs
from worker.job_log import JobLog
from worker.jobs import Job, LeaseLost

# Far more often than the lease needs: it is also how an attempt learns that its job is no longer its own.
RENEW_S = 1
_INTERRUPT_S = 0.1
_NEWS_S = 0.25  # news wait this long at most, so that a job of many short stages does not write a row for each

log = logging.getLogger(__name__)


class Lease:
    """Use as a context manager around the work.

    Once the job is somebody else's, or waits again, whatever the attempt does next raises LeaseLost.
    """

    def __init__(self, engine: sa.Engine, job: Job, job_log: JobLog) -> None:
        # Not the job's connection: what is told here must be visible before the job's transaction commits.
        self._engine = engine
        self._job = job
        self._job_log = job_log
        self._stage: str | None = None
        self._progress: tuple[int, int, str] | None = None
        self._lost = False
        self._interrupts: list[Callable[[], object]] = []
        self._interrupting = Lock()
        self._news = Event()
        self._ended = Event()
        self._thread = Thread(target=self._keep, name="lease", daemon=True)
        self.timings_ms: dict[str, float] = {}

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Renew no more. Whoever finishes the job stops first: a renewal after that would find the lease lost."""
        self._ended.set()
        self._news.set()
        self._thread.join()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """Call this, which ends a query that is running, when the lease is lost while in here."""
        with self._interrupting:
            self._interrupts.append(interrupt)
        try:
            self._refuse_lost()
            yield
        except Exception as error:
            if self._lost:
                raise LeaseLost from error
            raise
        finally:
            with self._interrupting:
                self._interrupts.remove(interrupt)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Time a stage, and make it visible in the job and in its log."""
        self._refuse_lost()
        self._stage, self._progress = name, None
        self._news.set()
        started = time.monotonic()
        try:
            yield self._report
        finally:
            self.timings_ms[name] = round(1000 * (time.monotonic() - started), 1)
        done = f"{self._progress[0]} {self._progress[2]} " if self._progress else ""
        log.info("%s: %sin %g ms", name, done, self.timings_ms[name])

    def _refuse_lost(self) -> None:
        if self._lost:
            raise LeaseLost

    def _report(self, done: int, total: int, unit: str) -> None:
        self._refuse_lost()
        self._progress = (done, total, unit)
        self._news.set()

    def _keep(self) -> None:
        with logs.about(job_id=str(self._job.id)):
            while not self._lost and not self._ended.wait(_NEWS_S):
                self._news.wait(RENEW_S - _NEWS_S)
                self._news.clear()
                if not self._ended.is_set():
                    self._renew()
            if self._lost:
                log.warning("the lease of attempt %d is lost", self._job.attempt)
                self._interrupt()
                while not self._ended.wait(_INTERRUPT_S):
                    self._interrupt()

    def _renew(self) -> None:
        try:
            with self._engine.begin() as connection:
                # Progress need not survive a crash, and a lease that does not only expires earlier.
                connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                self._lost = not jobs.renew(connection, self._job, self._stage, self._progress)
                self._job_log.write(connection)
        except SQLAlchemyError as error:
            log.warning("the lease could not be renewed: %s", error)

    def _interrupt(self) -> None:
        """It is done until the attempt stops: between two queries there is none that would end."""
        with self._interrupting:
            for interrupt in self._interrupts:
                with suppress(*database.CONNECTION_LOST):
                    interrupt()
