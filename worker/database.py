"""The connection to Postgres."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from worker.settings import Settings

# The revision of the schema that this program works with (worker/migrations/versions).
HEAD = "0006"

CONNECT_TIMEOUT_S = 5

# A machine that vanished is noticed within half a minute; over a Unix socket these say nothing.
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}

# What a server that went away looks like, through SQLAlchemy and below it.
CONNECTION_LOST = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
)


def engine(settings: Settings, *, pool_size: int = 4) -> sa.Engine:
    """Return a pool of connections; none is opened before the first use."""
    # A connection may have ended with a restart of the server.
    return _engine(settings, pool_size, pool_pre_ping=True)


class Looks:
    """Connections for statements that read a few rows and need no transaction around them.

    Nothing asks for a sign of life first, and SQLAlchemy is only the pool: both would take longer than the statement.
    """

    def __init__(self, settings: Settings, *, pool_size: int) -> None:
        self._engine = _engine(settings, pool_size, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows. Raises psycopg2's errors, and SQLAlchemy's TimeoutError when all connections are busy.

        On a connection that turns out to be dead, the statement is repeated on a new one.
        """
        with closing(self._engine.raw_connection()) as connection:
            try:
                return _rows(connection, statement, values)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if not connection.closed:
                    raise
        self._engine.dispose()  # what has ended this one has ended the others
        with closing(self._engine.raw_connection()) as connection:
            return _rows(connection, statement, values)

    def dispose(self) -> None:
        self._engine.dispose()


def _rows(connection: sa.PoolProxiedConnection, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    cursor = connection.cursor()
    cursor.execute(statement, values)
    return list(cursor.fetchall())


def _engine(settings: Settings, pool_size: int, **options: Any) -> sa.Engine:
    return sa.create_engine(
        make_url(settings.database_url).set(drivername="postgresql+psycopg2"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "experiment-etl", **_KEEPALIVE},
        **options,
    )


def await_answer(engine: sa.Engine, *, patience_s: float = 60) -> None:
    """Return once the database answers. Raises OperationalError where it does not within patience_s."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def revision(connection: sa.Connection) -> str | None:
    """Return the revision of the schema; None where there is none yet."""
    if not connection.scalar(sa.text("SELECT to_regclass('alembic_version')")):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def is_prepared(connection: sa.Connection) -> bool:
    """Tell whether a worker has made the schema, or has brought that of an older program up to date."""
    return revision(connection) == HEAD


def driver_connection(connection: sa.Connection) -> psycopg2.extensions.connection:
    """The psycopg2 connection below, for what needs COPY; it takes part in the transaction that is open above."""
    driver: psycopg2.extensions.connection | None = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - it is None only for a connection that was given back
    return driver


def partition(job_id: UUID) -> str:
    """Return the table of a version's rows; it needs no quotes."""
    return f"user_feature_versions_{job_id.hex}"
