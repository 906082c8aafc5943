"""Celery's target: `celery --app worker.main worker`."""

import logging
import os
import socket
from threading import Event
from typing import Any
from uuid import uuid4

from celery import signals
from sqlalchemy.exc import SQLAlchemyError

from worker import database, jobs, logs, migrations, presence, queue
from worker.settings import Settings
from worker.tasks import Runner

log = logging.getLogger(__name__)

settings = Settings.from_env()
engine = database.engine(settings)
app = queue.celery_app(settings)
runner = Runner(settings, engine, app, worker=f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}")
runner.register()
stopping = Event()


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.set_up("worker")


@signals.worker_init.connect
def _prepare(**_: Any) -> None:
    migrations.upgrade(engine)


@signals.worker_process_init.connect
def _start_process(**_: Any) -> None:
    # The connections that the parent opened are the parent's; a query on a shared socket would mix two answers.
    engine.dispose(close=False)
    runner.warm_up()


@signals.heartbeat_sent.connect
def _beat(**_: Any) -> None:
    """Celery sends this from its main loop, so a worker that hangs falls silent; on its way out it sends one more."""
    if stopping.is_set():
        return
    try:
        with engine.begin() as connection:
            presence.beat(connection, runner.worker)
    except SQLAlchemyError as error:
        log.warning("the heartbeat could not be written: %s", error)


@signals.worker_shutting_down.connect
def _leave(**_: Any) -> None:
    """Leave nothing to wait for: the running job goes back at once, and its attempt here can publish no more."""
    stopping.set()
    try:
        with engine.begin() as connection:
            presence.leave(connection, runner.worker)
            for job_id in jobs.release(connection, runner.worker):
                log.info("put back into the queue", extra={"job_id": str(job_id)})
    except SQLAlchemyError as error:
        log.warning("the sweeper will put back what was running: %s", error)
