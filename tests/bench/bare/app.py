"""The least that does what the service does for a request: Flask, one row in Postgres, a message over Celery."""

import os
from functools import cache
from threading import Lock

from flask import Flask, Response, jsonify
from psycopg2.pool import ThreadedConnectionPool

from tests.bench.bare.tasks import derive

CONNECTIONS = 16

app = Flask(__name__)


_making = Lock()


@cache
def _made_pool() -> ThreadedConnectionPool:
    """psycopg2's own keeps as many open as it begins with."""
    return ThreadedConnectionPool(CONNECTIONS, CONNECTIONS, os.environ["BARE_DATABASE_URL"])


def _pool() -> ThreadedConnectionPool:
    """One for each of gunicorn's processes, made after the fork."""
    with _making:
        return _made_pool()


@app.get("/hello")
def hello() -> Response:
    return jsonify(hello="world")


@app.post("/jobs")
def submit() -> tuple[Response, int]:
    connection = _pool().getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO jobs (state) VALUES ('queued') RETURNING id")
            [(job_id,)] = cursor.fetchall()
    finally:
        _pool().putconn(connection)
    derive.delay(job_id)
    return jsonify(id=job_id), 202


@app.get("/jobs/<int:job_id>")
def show(job_id: int) -> Response:
    connection = _pool().getconn()
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, state, created_at, finished_at FROM jobs WHERE id = %s", (job_id,))
            [(found, state, created_at, finished_at)] = cursor.fetchall()
        connection.autocommit = False
    finally:
        _pool().putconn(connection)
    return jsonify(id=found, state=state, created_at=created_at, finished_at=finished_at)
