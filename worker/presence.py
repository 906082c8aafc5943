"""Which workers are there: each says so every few seconds."""

import sqlalchemy as sa

SILENT_S = 20


def beat(connection: sa.Connection, worker: str) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO worker_heartbeats (worker, seen_at) VALUES (:worker, now())"
            " ON CONFLICT (worker) DO UPDATE SET seen_at = now()"
        ),
        {"worker": worker},
    )


def leave(connection: sa.Connection, worker: str) -> None:
    connection.execute(sa.text("DELETE FROM worker_heartbeats WHERE worker = :worker"), {"worker": worker})


def forget_silent(connection: sa.Connection) -> None:
    """Drop the workers that have not been there for an hour."""
    connection.execute(sa.text("DELETE FROM worker_heartbeats WHERE seen_at < now() - interval '1 hour'"))


def count(connection: sa.Connection) -> int:
    """Return how many workers were heard of in the last SILENT_S seconds."""
    # A heartbeat from before the server's start may be that of a worker which went down together with it.
    query = """
        SELECT count(*) FROM worker_heartbeats
        WHERE seen_at > greatest(now() - make_interval(secs => :silent_s), pg_postmaster_start_time())
    """
    return int(connection.execute(sa.text(query), {"silent_s": SILENT_S}).scalar_one())
