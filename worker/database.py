"""The connection to Postgres."""

import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from worker.settings import Settings

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
    return sa.create_engine(
        make_url(settings.database_url).set(drivername="postgresql+psycopg2"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,  # a connection may have ended with a restart of the server
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "experiment-etl", **_KEEPALIVE},
    )


def is_prepared(connection: sa.Connection) -> bool:
    """Tell whether a worker has made the schema; between the first start and that there are no tables."""
    return bool(connection.scalar(sa.text("SELECT to_regclass('jobs')")))


def driver_connection(connection: sa.Connection) -> psycopg2.extensions.connection:
    """The psycopg2 connection below, for what needs COPY; it takes part in the transaction that is open above."""
    driver: psycopg2.extensions.connection | None = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - it is None only for a connection that was given back
    return driver
