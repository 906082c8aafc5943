"""What requests need from outside: the database, the queue and the settings, one of each per process."""

from dataclasses import dataclass

import redis
import sqlalchemy as sa
from flask import Flask, current_app

from api.waiting import Watch
from worker import database, queue
from worker.settings import Settings

CONNECTIONS = 16


@dataclass(frozen=True)
class Services:
    settings: Settings
    engine: sa.Engine
    # The same connections, for one short statement without a transaction around it; a server that takes longer for it
    # than to answer a ping is taken for one that hangs.
    looks: sa.Engine
    bell: queue.Bell
    redis: "redis.Redis"
    watch: Watch


def init_app(app: Flask, settings: Settings) -> None:
    # Requests take turns with these: none keeps one while it waits for its client.
    engine = database.engine(settings, pool_size=CONNECTIONS)
    app.extensions["services"] = Services(
        settings,
        engine=engine,
        looks=engine.execution_options(isolation_level="AUTOCOMMIT"),
        bell=queue.Bell(settings),
        redis=queue.client(settings, patience_s=queue.SHORT_PATIENCE_S),
        watch=Watch(engine),
    )


def services() -> Services:
    """The current application's services."""
    found: Services = current_app.extensions["services"]
    return found
