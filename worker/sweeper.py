"""The sweeper: `python -m worker.sweeper`. Re-rings queued jobs, takes back expired leases, drops old versions.

Any number of sweepers may run: what each does is a transition that only one of them can make.
"""

import logging
import signal
import threading
import time
from types import FrameType

import redis
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from worker import database, jobs, logs, presence, queue, versions
from worker.settings import Settings

INTERVAL_S = 1.0
UNRUNG_S = 2.0
RING_MAX = 100
HOUSEKEEPING_S = 30.0

log = logging.getLogger(__name__)


def sweep(engine: sa.Engine, app: Celery, broker: "redis.Redis") -> None:
    """Put back what has lost its worker, and ring for what waits although every bell was heard."""
    with engine.begin() as connection:
        if not database.is_prepared(connection):
            return
        for job_id in jobs.take_back_expired(connection):
            log.warning("the lease expired; the job waits again", extra={"job_id": str(job_id)})
    # While messages lie in the queue all workers are busy; more of them would only pile up.
    if queue.length(broker):
        return
    with engine.begin() as connection:
        waiting = jobs.waiting(connection, limit=RING_MAX, unrung_s=UNRUNG_S)
    for job_id in waiting:
        queue.ring(app, job_id)


def keep_house(engine: sa.Engine, settings: Settings) -> None:
    """Drop what nobody needs any more."""
    with engine.begin() as connection:
        if not database.is_prepared(connection):
            return
        presence.forget_silent(connection)
    versions.drop_old(engine, settings.keep_versions)


def main() -> None:
    logs.set_up("sweeper")
    settings = Settings.from_env()
    engine = database.engine(settings, pool_size=1)
    app, broker = queue.celery_app(settings), queue.client(settings)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    log.info("sweeping every %g s", INTERVAL_S)
    housekeeping_due = time.monotonic()
    while not stop.wait(INTERVAL_S):
        try:
            sweep(engine, app, broker)
            if time.monotonic() >= housekeeping_due:
                housekeeping_due = time.monotonic() + HOUSEKEEPING_S
                keep_house(engine, settings)
        except (SQLAlchemyError, queue.Unreachable) as error:
            log.warning("not swept this time: %s", error)


if __name__ == "__main__":
    main()
