"""Celery's target: `celery --app worker.main worker`."""

# ruff: noqa: E402 - what is imported stays: looking for garbage in it takes a quarter of the time
import gc

gc.disable()

import logging
import multiprocessing
import os
import socket
from threading import Event
from typing import Any
from uuid import uuid4

from celery import signals
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from worker import database, jobs, logs, memory, migrations, presence, queue, restores
from worker.settings import Settings
from worker.tasks import Runner

log = logging.getLogger(__name__)

settings = Settings.from_env()
engine = database.engine(settings)
app = queue.celery_app(settings)
runner = Runner(settings, engine, app, worker=f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}")
runner.register()
stopping = Event()
# Set by the process that runs jobs, once it can: a job that is sent before that would only wait for it.
warm = multiprocessing.get_context("fork").Event()
kills = memory.Kills()

# Also out of the sight of the process that runs jobs, which shares this memory until something writes there.
gc.freeze()
gc.enable()


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.set_up("worker", runner.job_log)


@signals.worker_init.connect
def _prepare(**_: Any) -> None:
    try:
        database.await_answer(engine)
    except OperationalError as error:
        # Any other exception Celery would only log.
        raise SystemExit(f"the database does not answer: {error}") from error
    try:
        restores.settle(engine, settings)
        migrations.upgrade(engine)
    except Exception as error:  # Celery would log it, and go on without the tables
        logs.set_up("worker")  # which Celery has done a moment later
        log.critical("what is stored could not be brought up to date: %s", error)
        raise SystemExit(1) from error


@signals.worker_before_create_process.connect
def _put_back_after_kill(**_: Any) -> None:
    """One process runs jobs: where there is need of another, the one before is dead, and so is its attempt."""
    if kills.have_risen():
        _put_back("out_of_memory", "the worker's process was killed because memory had run out")
    else:
        _put_back("worker_lost", "the worker's process died")


@signals.worker_process_init.connect
def _start_process(**_: Any) -> None:
    # The connections that the parent opened are the parent's; a query on a shared socket would mix two answers.
    engine.dispose(close=False)
    memory.be_killed_first()
    try:
        runner.warm_up()
    except Exception:  # Celery would log it as well, and leave out all that follows
        log.exception("not warmed up: the first job takes longer, or fails of the same")
    runner.engines.get_ready()
    warm.set()
    _beat()


@signals.task_postrun.connect
def _get_ready(**_: Any) -> None:
    runner.engines.get_ready()


@signals.heartbeat_sent.connect
def _beat(**_: Any) -> None:
    """Celery sends this from its main loop, so a worker that hangs falls silent; on its way out it sends one more."""
    if stopping.is_set() or not warm.is_set():
        return
    kills.look()
    try:
        with engine.begin() as connection:
            presence.beat(connection, runner.worker)
    except SQLAlchemyError as error:
        log.warning("the heartbeat could not be written: %s", error)


@signals.worker_shutting_down.connect
def _leave(**_: Any) -> None:
    """Leave nothing to wait for: the running job goes back at once, and its attempt here can publish no more."""
    stopping.set()
    _put_back("worker_stopped", "the worker was stopped")


def _put_back(code: str, detail: str) -> None:
    try:
        with engine.begin() as connection:
            if stopping.is_set():
                presence.leave(connection, runner.worker)
            jobs.release(connection, runner.worker, code, detail)
            runner.job_log.write(connection)
    except SQLAlchemyError as error:
        log.warning("the sweeper will put back what was running: %s", error)
