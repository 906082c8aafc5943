"""What requests need from outside: the database, the queue and the settings, one of each per process."""

from dataclasses import dataclass

import redis
import sqlalchemy as sa
from flask import Flask, current_app

from api.news import News
from api.waiting import Watch
from worker import database, queue
from worker.settings import Settings

# Both together, in each of the API's two processes, leave half of what Postgres allows to others. A look is short.
CONNECTIONS, LOOKS = 16, 8


@dataclass(frozen=True)
class Services:
    settings: Settings
    engine: sa.Engine
    # A server that takes longer for a look than to answer a ping is taken for one that hangs.
    looks: database.Looks
    bell: queue.Bell
    redis: "redis.Redis"
    watch: Watch
    news: News


def init_app(app: Flask, settings: Settings) -> None:
    looks = database.Looks(settings, pool_size=LOOKS)
    app.extensions["services"] = Services(
        settings,
        # Requests take turns with these: none keeps one while it waits for its client.
        engine=database.engine(settings, pool_size=CONNECTIONS),
        looks=looks,
        bell=queue.Bell(settings),
        redis=queue.client(settings, patience_s=queue.SHORT_PATIENCE_S),
        watch=Watch(looks),
        news=News(looks),
    )


def services() -> Services:
    """The current application's services."""
    found: Services = current_app.extensions["services"]
    return found
