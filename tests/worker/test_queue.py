"""The queue: every setting that a promise leans on, and a bell that never holds up who rings it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
import redis
import uuid6
from celery import Celery
from celery.app.defaults import DEFAULTS

from tests import servers
from tests.servers import wait_until
from worker import queue
from worker.settings import Settings

UNUSED = Settings.from_env({"REDIS_URL": "redis://127.0.0.1:1/0"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("result_backend", None),
        ("task_ignore_result", True),
        ("task_acks_late", False),
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("worker_prefetch_multiplier", 1),
        ("worker_disable_prefetch", True),
        ("worker_concurrency", 1),
        ("task_publish_retry", False),
        ("broker_connection_timeout", 3),
        ("broker_connection_retry_on_startup", True),
        ("broker_connection_max_retries", None),
        ("accept_content", ["json"]),
        ("task_serializer", "json"),
        ("task_default_queue", "jobs"),
        ("task_create_missing_queues", False),
        ("worker_enable_remote_control", False),
        ("worker_send_task_events", False),
        ("worker_hijack_root_logger", False),
        ("worker_redirect_stdouts", False),
    ],
)
def test_a_setting_has_the_value_that_the_promises_need(name: str, value: object) -> None:
    assert name in DEFAULTS, "Celery knows no such setting"
    assert queue.celery_app(UNUSED).conf[name] == value


@pytest.mark.parametrize(("name", "value"), [("socket_timeout", 5), ("socket_connect_timeout", 3)])
def test_a_frozen_redis_is_given_up(name: str, value: object) -> None:
    assert queue.celery_app(UNUSED).conf.broker_transport_options[name] == value


def test_nothing_is_owed_to_redis_for_a_message_that_was_taken() -> None:
    [jobs] = queue.celery_app(UNUSED).conf.task_queues

    assert (jobs.name, jobs.no_ack) == (queue.QUEUE, True)


def test_the_app_is_nobodys_default() -> None:
    """A module-level default app would be shared by all that are made in a process, as in these tests."""
    app = queue.celery_app(UNUSED)

    assert queue.celery_app(UNUSED) is not app


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("rediss://:secret@host:6379/1", "rediss://:secret@host:6379/1"),
        ("unix:///run/redis.sock?db=0", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
    ],
)
def test_celery_is_given_the_url_that_redis_py_understands_in_kombus_form(url: str, broker: str) -> None:
    assert queue.celery_app(replace(UNUSED, redis_url=url)).conf.broker_url == broker


@pytest.mark.parametrize("database", [0, 3])
def test_the_bell_and_the_sweeper_look_at_the_same_database(redis_url: str, database: int) -> None:
    settings = replace(UNUSED, redis_url=redis_url.replace("db=0", f"db={database}"))
    with queue.client(settings) as connection:
        connection.flushall()

        queue.ring(queue.celery_app(settings), uuid6.uuid7())

        assert queue.length(connection) == 1


# --- ring


def _messages(url: str) -> list[dict[str, Any]]:
    with redis.Redis.from_url(url) as connection:
        return [json.loads(message) for message in connection.lrange(queue.QUEUE, 0, -1)]


def test_a_message_says_which_row_to_look_at_and_nothing_else(settings: Settings) -> None:
    job_id = uuid6.uuid7()

    queue.ring(queue.celery_app(settings), job_id)

    [message] = _messages(settings.redis_url)
    assert (message["headers"]["task"], message["headers"]["id"]) == (queue.TASK, str(job_id))
    assert message["content-type"] == "application/json"
    assert message["headers"]["argsrepr"] == repr([str(job_id)])
    assert message["headers"]["kwargsrepr"] == "{}"


def _seconds_until_unreachable(app: Celery) -> float:
    started = time.monotonic()
    with pytest.raises(queue.Unreachable):
        queue.ring(app, uuid6.uuid7())
    return time.monotonic() - started


def test_a_redis_that_is_not_there_is_unreachable_at_once(tmp_path: Path) -> None:
    app = queue.celery_app(replace(UNUSED, redis_url=f"unix://{tmp_path}/none.sock?db=0"))

    assert _seconds_until_unreachable(app) < 2


def test_a_port_that_nobody_listens_on_is_unreachable_at_once() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # not listening: the port is ours, and connections are refused
        app = queue.celery_app(replace(UNUSED, redis_url=f"redis://127.0.0.1:{reserved.getsockname()[1]}/0"))

        assert _seconds_until_unreachable(app) < 2


@pytest.fixture
def frozen() -> Iterator[Settings]:
    """A Redis that takes connections and never answers, as one that was stopped by SIGSTOP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield replace(UNUSED, redis_url=f"redis://127.0.0.1:{server.getsockname()[1]}/0")


def test_a_redis_that_does_not_answer_is_unreachable_after_the_time_that_is_set(frozen: Settings) -> None:
    app = queue.celery_app(frozen)
    app.conf.broker_transport_options = app.conf.broker_transport_options | {"socket_timeout": 0.5}

    assert _seconds_until_unreachable(app) < 3


def test_a_redis_that_does_not_answer_answers_no_ping_either(frozen: Settings) -> None:
    with queue.client(frozen, patience_s=0.2) as connection, pytest.raises(queue.Unreachable):
        queue.ping(connection)


def test_a_redis_that_does_not_answer_is_asked_once() -> None:
    """redis-py may try again by itself, as it does where it is given no URL; each time would be as long."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        with queue.client(replace(UNUSED, redis_url=url), patience_s=0.2) as connection:
            with pytest.raises(queue.Unreachable):
                queue.ping(connection)

            server.accept()[0].close()
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()


# --- the API's bell


def test_the_bell_rings(settings: Settings) -> None:
    job_id = uuid6.uuid7()

    queue.Bell(settings).ring(job_id)

    assert [message["headers"]["id"] for message in _messages(settings.redis_url)] == [str(job_id)]


def test_who_asks_for_the_bell_does_not_wait_for_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bell, job_ids = queue.Bell(settings), [uuid6.uuid7() for _ in range(50)]
    is_ringing, all_have_asked = Event(), Event()
    send = queue.ring

    def send_late(app: Celery, job_id: UUID) -> None:
        is_ringing.set()
        assert all_have_asked.wait(60)
        send(app, job_id)

    monkeypatch.setattr(queue, "ring", send_late)

    for job_id in job_ids:
        bell.ring_soon(job_id, str(job_id))
        assert is_ringing.wait(60)
    all_have_asked.set()

    def rung() -> list[str]:
        return [message["headers"]["id"] for message in _messages(settings.redis_url)]

    wait_until(lambda: sorted(rung()) == sorted(map(str, job_ids)), "each is rung once")


def test_of_the_jobs_of_a_dataset_that_wait_for_the_bell_the_first_is_rung(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker rings for the next."""
    bell, ids = queue.Bell(settings), [uuid6.uuid7() for _ in range(5)]
    is_ringing, all_have_asked = Event(), Event()
    rung: list[UUID] = []

    def note(_: Celery, job_id: UUID) -> None:
        is_ringing.set()
        assert all_have_asked.wait(60)
        rung.append(job_id)

    monkeypatch.setattr(queue, "ring", note)

    bell.ring_soon(ids[0], "one")
    assert is_ringing.wait(60)
    for job_id, dataset in zip(ids[1:], ("one", "one", "two", "one"), strict=True):
        bell.ring_soon(job_id, dataset)
    all_have_asked.set()

    wait_until(lambda: not bell._rings, "the bell is silent")
    assert rung == [ids[0], ids[1], ids[3]]


def test_a_bell_that_is_asked_for_in_vain_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bell, job_ids = (
        queue.Bell(replace(UNUSED, redis_url=f"unix://{tmp_path}/none.sock?db=0")),
        [uuid6.uuid7(), uuid6.uuid7()],
    )

    for job_id in job_ids:
        bell.ring_soon(job_id, str(job_id))

    wait_until(lambda: len(caplog.records) == len(job_ids), "each is told")
    assert {record.job_id for record in caplog.records} == set(map(str, job_ids))  # type: ignore[attr-defined]
    assert all("the sweeper will ring" in record.message for record in caplog.records)


def test_a_bell_goes_on_after_whatever_went_wrong(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bell, job_id = queue.Bell(settings), uuid6.uuid7()
    send = queue.ring
    asked: list[UUID] = []

    def fail_first(app: Celery, job_id: UUID) -> None:
        asked.append(job_id)
        if len(asked) == 1:
            raise ValueError("never seen before")
        send(app, job_id)

    monkeypatch.setattr(queue, "ring", fail_first)
    bell.ring_soon(uuid6.uuid7(), "first")
    wait_until(lambda: asked, "the first was asked for")
    bell.ring_soon(job_id, "second")

    wait_until(lambda: [message["headers"]["id"] for message in _messages(settings.redis_url)], "the second is rung")
    assert [message["headers"]["id"] for message in _messages(settings.redis_url)] == [str(job_id)]


def test_a_bell_that_was_in_vain_is_left_alone_for_a_while(
    server_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = server_directory / "frozen"
    directory.mkdir()
    now = 1000.0
    monkeypatch.setattr(queue.time, "monotonic", lambda: now)  # type: ignore[attr-defined]
    with servers.redis(directory) as url:
        bell = queue.Bell(replace(UNUSED, redis_url=url))
        bell.ring(uuid6.uuid7())
        with redis.Redis.from_url(url) as connection:
            pid = int(connection.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(queue.Unreachable, match=r"[Tt]imeout"):
                bell.ring(uuid6.uuid7())
            for _ in range(100):
                with pytest.raises(queue.Unreachable, match="a moment ago"):
                    bell.ring(uuid6.uuid7())
        finally:
            os.kill(pid, signal.SIGCONT)

        now += queue.SILENCE_S
        job_id = uuid6.uuid7()
        bell.ring(job_id)
        assert str(job_id) in {message["headers"]["id"] for message in _messages(url)}


@pytest.mark.parametrize("ask", [queue.ping, queue.length])
def test_a_redis_that_is_not_there_answers_nothing(tmp_path: Path, ask: Any) -> None:
    with (
        queue.client(replace(UNUSED, redis_url=f"unix://{tmp_path}/none.sock?db=0")) as connection,
        pytest.raises(queue.Unreachable),
    ):
        ask(connection)


def test_an_app_that_found_redis_dead_rings_again_when_it_is_back(server_directory: Path) -> None:
    server = server_directory / "another"
    server.mkdir()
    url = f"unix://{server}/redis.sock?db=0"
    app = queue.celery_app(replace(UNUSED, redis_url=url))
    with pytest.raises(queue.Unreachable):
        queue.ring(app, uuid6.uuid7())

    command = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        f"{server}/redis.sock",
        "--save",
        "",
        "--dir",
        str(server),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until((server / "redis.sock").exists, "Redis listens")
            job_id = uuid6.uuid7()
            wait_until(lambda: _rings(app, job_id), "the bell rings", seconds=10)
            assert str(job_id) in {message["headers"]["id"] for message in _messages(url)}
        finally:
            process.terminate()
            process.wait(10)
            shutil.rmtree(server)


def _rings(app: Celery, job_id: Any) -> bool:
    try:
        queue.ring(app, job_id)
    except queue.Unreachable:
        return False
    return True
