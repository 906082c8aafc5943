"""The queue: a doorbell. The ledger decides what runs; a message only says which row to look at."""

import logging
import time
from threading import Lock, Thread
from uuid import UUID

import redis
from celery import Celery
from kombu import Queue
from kombu.exceptions import KombuError, OperationalError

from worker.settings import Settings

log = logging.getLogger(__name__)

QUEUE = "jobs"
TASK = "run_job"

# How long a Redis may take to answer a worker, and somebody who has a request to answer.
PATIENCE_S, SHORT_PATIENCE_S = 5, 1
# How long a bell that was in vain is left alone: about as long as the sweeper needs to ring.
SILENCE_S = 3


class Unreachable(Exception):  # noqa: N818
    """The bell could not be rung; the sweeper will try again."""


def celery_app(settings: Settings, *, patience_s: float = PATIENCE_S) -> Celery:
    """Return the Celery app. Every setting that the promises lean on is set here, by name."""
    app = Celery("experiment-etl", broker=_broker_url(settings.redis_url), set_as_current=False)
    app.conf.update(
        # The status is in the ledger; a second truth in a result backend could only contradict it.
        result_backend=None,
        task_ignore_result=True,
        # A message is gone when it is taken, and nothing is owed to Redis for it: what was taken in vain is rung for
        # again. (A worker whose acknowledgement fails waits for ever for the place of that message.)
        task_queues=[Queue(QUEUE, no_ack=True)],
        task_acks_late=False,
        # Cancelling on a lost connection would end jobs that run well; the lease decides whose job it is.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # A busy worker takes no further message: a job must not wait behind another while a worker is idle.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_concurrency=1,
        # A process that is still warming up on a busy machine is not dead: killing it would only begin that again.
        worker_proc_alive_timeout=60,
        # A frozen Redis must not hold up a POST: give up soon, once; the row is the promise.
        task_publish_retry=False,
        broker_connection_timeout=3,
        broker_transport_options={
            "socket_timeout": patience_s,
            "socket_connect_timeout": min(patience_s, 3),
            "max_retries": 0,  # kombu's own: it would wait and connect again within one publish
        },
        # A Redis that is away is waited for, at start and later, for ever.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Only JSON is read from the queue, and only this queue exists.
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        # Nobody talks to workers through the queue or listens to their events.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        # The program's own logging: JSON lines on standard output.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        timezone="UTC",
    )
    return app


def ring(app: Celery, job_id: UUID) -> None:
    """Tell a worker to look at the job. Raises Unreachable; a job is safe without this."""
    try:
        app.send_task(TASK, args=[str(job_id)], task_id=str(job_id))
    except (KombuError, OperationalError, redis.RedisError, OSError) as error:
        raise Unreachable(str(error)) from error


class Bell:
    """Rings for those who have a request to answer. One that was in vain is left alone for a while.

    The sweeper rings in any case.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings, patience_s=SHORT_PATIENCE_S)
        self._one_at_a_time = Lock()
        self._silent_until = 0.0
        self._waiting: dict[str, UUID] = {}
        self._noting = Lock()  # not the other one, which is held while Redis is waited for
        self._rings = False

    def ring_soon(self, job_id: UUID, dataset: str) -> None:
        """Have it rung by a thread: Celery takes as long to send a message as Postgres to insert the job.

        Of the jobs of a dataset that still wait for that, the first is rung: they run one after the other, and who has
        run one rings for the next.
        """
        with self._noting:
            self._waiting.setdefault(dataset, job_id)
            if self._rings:
                return
            try:
                Thread(target=self._ring_while_somebody_waits, name="bell", daemon=True).start()
            except RuntimeError as error:  # no more threads: the next one may have one
                log.warning("the sweeper will ring: %s", error, extra={"job_id": str(job_id)})
            else:
                self._rings = True

    def _ring_while_somebody_waits(self) -> None:
        while job_id := self._next():
            self._ring_or_say_so(job_id)

    def _next(self) -> UUID | None:
        with self._noting:
            for dataset in self._waiting:
                return self._waiting.pop(dataset)
            self._rings = False
            return None

    def _ring_or_say_so(self, job_id: UUID) -> None:
        """The row is the promise."""
        try:
            self.ring(job_id)
        except Unreachable as error:
            log.warning("the sweeper will ring: %s", error, extra={"job_id": str(job_id)})
        except Exception:
            log.exception("the sweeper will ring", extra={"job_id": str(job_id)})

    def ring(self, job_id: UUID) -> None:
        """Tell a worker to look at the job. Raises Unreachable; a job is safe without this."""
        with self._one_at_a_time:
            if time.monotonic() < self._silent_until:
                raise Unreachable("Redis did not answer a moment ago")
            try:
                ring(self._app, job_id)
            except Unreachable:
                self._silent_until = time.monotonic() + SILENCE_S
                raise


def client(settings: Settings, *, patience_s: float = PATIENCE_S) -> "redis.Redis":
    """Return a connection that gives up after patience_s."""
    return redis.Redis.from_url(
        settings.redis_url, socket_timeout=patience_s, socket_connect_timeout=min(patience_s, 3)
    )


def ping(connection: "redis.Redis") -> None:
    """Raise Unreachable where Redis does not answer."""
    try:
        connection.ping()
    except redis.RedisError as error:
        raise Unreachable(str(error)) from error


def length(connection: "redis.Redis") -> int:
    """Return how many messages no worker has taken yet. Raises Unreachable."""
    try:
        return int(connection.llen(QUEUE))
    except redis.RedisError as error:
        raise Unreachable(str(error)) from error


def _broker_url(redis_url: str) -> str:
    """Kombu's form of redis-py's URL for a Unix socket (unix://PATH?db=N)."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, query = redis_url.removeprefix("unix://").partition("?")
    return f"redis+socket://{path}?virtual_host={query.removeprefix('db=') or 0}"
