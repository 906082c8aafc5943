"""What requests need from outside: the database, the queue and the settings, one of each per process."""

from dataclasses import dataclass

import redis
import sqlalchemy as sa
from celery import Celery
from flask import Flask, current_app

from worker import database, queue
from worker.settings import Settings

THREADS = 16


@dataclass(frozen=True)
class Services:
    settings: Settings
    engine: sa.Engine
    celery: Celery
    redis: "redis.Redis"


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["services"] = Services(
        settings,
        # A thread waits for no other thread's connection.
        engine=database.engine(settings, pool_size=THREADS),
        celery=queue.celery_app(settings),
        redis=queue.client(settings),
    )


def services() -> Services:
    """The current application's services."""
    found: Services = current_app.extensions["services"]
    return found
