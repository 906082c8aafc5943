"""The sweeper: `python -m worker.sweeper`. Re-rings queued jobs, takes back lost ones, drops old versions, indexes the
published ones.

Any number of sweepers may run: what each does is a transition that only one of them can make.
"""

import logging
import signal
import threading
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from types import FrameType

import redis
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from worker import database, indices, jobs, logs, presence, queue, restores, schedule, spill, uploads, versions
from worker.job_log import JobLog
from worker.jobs import Request
from worker.schedule import NoRoom
from worker.settings import DEFAULT_DATASET, Settings

INTERVAL_S = 1.0
UNRUNG_S = 2.0
RING_MAX = 100
HOUSEKEEPING_S = 10.0

log = logging.getLogger(__name__)


def sweep(engine: sa.Engine, app: Celery, broker: "redis.Redis", settings: Settings, job_log: JobLog) -> None:
    """Put back what has lost its worker, end what takes too long, and ring again for what waits."""
    # Mostly there is nothing to do, and finding that out each second has to cost next to nothing.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not database.is_prepared(connection):
            return
        is_idle = not jobs.are_unfinished(connection)
    if settings.etl_schedule:
        _fire(engine, app, settings, settings.etl_schedule, job_log)
    if is_idle:
        return
    with engine.begin() as connection:
        jobs.end_abandoned(connection)
        # First: an attempt that ended with the whole service did not take as long as that was away.
        jobs.take_back_lost(connection)
        for job_id in jobs.end_overdue(connection, settings.job_time_limit_s):
            log.warning("failed: it took longer than JOB_TIME_LIMIT", extra={"job_id": str(job_id)})
        job_log.write(connection)
    # While messages lie in the queue all workers are busy; more of them would only pile up.
    if queue.length(broker):
        return
    with engine.begin() as connection:
        waiting = jobs.waiting(connection, limit=RING_MAX, unrung_s=UNRUNG_S)
    for job_id in waiting:
        queue.ring(app, job_id)


def _fire(engine: sa.Engine, app: Celery, settings: Settings, expression: str, job_log: JobLog) -> None:
    request = Request(
        DEFAULT_DATASET, "publish", settings.etl_engine, force=False, max_rejected_ratio=settings.max_rejected_ratio
    )
    try:
        with engine.begin() as connection:
            job = schedule.fire(connection, expression, request, max_queued_jobs=settings.max_queued_jobs)
            if job:
                log.info("submitted by the schedule %s", expression, extra={"job_id": str(job.id)})
                job_log.write(connection)
    except NoRoom as error:
        _tell_that_it_waits(error.due)
        return
    if job:
        queue.ring(app, job.id)


@lru_cache(maxsize=1)
def _tell_that_it_waits(due: datetime) -> None:
    """Once for each time of the schedule, however often somebody looks."""
    log.warning("the scheduled job of %s waits for room in the queue", due)


def keep_house(engine: sa.Engine, settings: Settings) -> None:
    """Drop what nobody needs any more, and make what is needed only after a publication."""
    try:
        restores.settle(engine, settings)
    except Exception:  # the rest goes on, and may make the room that was wanting
        log.exception("a restoration is not settled yet")
    for path in spill.remove_abandoned(settings.spill_dir):
        log.info("removed %s, which a worker has left behind", path)
    with engine.begin() as connection:
        if not database.is_prepared(connection):
            return
        presence.forget_silent(connection)
        jobs.count(connection)
    versions.drop_old(engine, settings.keep_versions)
    uploads.drop_leftovers(settings)
    indices.make_missing(engine, settings)


def main() -> None:
    job_log = JobLog()
    logs.set_up("sweeper", job_log)
    settings = Settings.from_env()
    engine = database.engine(settings, pool_size=2)
    app, broker = queue.celery_app(settings), queue.client(settings)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    log.info("sweeping every %g s", INTERVAL_S)
    # Beside the sweeps: dropping much may take long, and no job that lost its worker must wait for it.
    housekeeping = threading.Thread(
        target=_repeat, args=(lambda: keep_house(engine, settings), HOUSEKEEPING_S, stop), daemon=True
    )
    housekeeping.start()
    _repeat(lambda: sweep(engine, app, broker, settings, job_log), INTERVAL_S, stop)


def _repeat(work: Callable[[], None], interval_s: float, stop: threading.Event) -> None:
    """Do the work again and again until the sweeper is told to stop; what failed is tried again next time."""
    while not stop.is_set():
        try:
            work()
        except (SQLAlchemyError, queue.Unreachable, OSError) as error:
            log.warning("not swept this time: %s", error)
        stop.wait(interval_s)


if __name__ == "__main__":
    main()
