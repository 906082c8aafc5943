"""Single statements on connections that are not asked for a sign of life."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg2
import pytest
from psycopg2.errors import QueryCanceled

from tests.conftest import InProcess
from worker.database import Looks
from worker.settings import Settings

SIZE = 4


@pytest.fixture
def looks(settings: Settings) -> Iterator[Looks]:
    looks = Looks(settings, pool_size=SIZE)
    yield looks
    looks.dispose()


def _sessions(looks: Looks) -> set[int]:
    """Keep all connections busy at once; return their servers' process ids."""
    with ThreadPoolExecutor(SIZE) as threads:
        slept = threads.map(lambda _: looks.rows("SELECT pg_backend_pid(), pg_sleep(0.2)", {}), range(SIZE))
        return {pid for [(pid, _)] in slept}


def test_a_look_that_finds_its_connection_dead_is_repeated_on_a_new_one(looks: Looks, in_process: InProcess) -> None:
    before = _sessions(looks)
    assert len(before) == SIZE
    in_process.query("SELECT pg_terminate_backend(pid) FROM unnest(:pids) AS pid", pids=list(before))

    assert not before & _sessions(looks)


def test_a_look_that_fails_by_itself_is_not_repeated(looks: Looks, in_process: InProcess) -> None:
    """Its connection is alive, so a new one would change nothing."""
    in_process.execute("CREATE SEQUENCE looks")
    [(pid,)] = looks.rows("SELECT pg_backend_pid()", {})

    with pytest.raises(QueryCanceled):
        looks.rows("SELECT nextval('looks'), pg_cancel_backend(pg_backend_pid()), pg_sleep(9)", {})

    assert looks.rows("SELECT last_value, pg_backend_pid() FROM looks", {}) == [(1, pid)]


def test_a_look_leaves_no_transaction_open(looks: Looks, in_process: InProcess) -> None:
    looks.rows("SELECT %(number)s", {"number": 1})

    [[state]] = [
        row.values() for row in in_process.query("SELECT state FROM pg_stat_activity WHERE query = 'SELECT 1'")
    ]
    assert state == "idle"


def test_without_a_server_a_look_fails_as_psycopg2_says(settings: Settings) -> None:
    looks = Looks(replace(settings, database_url="postgresql://etl@/x?host=/nonexistent"), pool_size=1)

    with pytest.raises(psycopg2.OperationalError):
        looks.rows("SELECT 1", {})
