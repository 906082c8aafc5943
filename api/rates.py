"""How often one client may ask, where MAX_REQUESTS_PER_MINUTE says so.

Each of the API's processes counts by itself and in its own memory: a limit that needed Redis would end with it.
"""

import math
import time
from http import HTTPStatus

from flask import Flask, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.problems import Problem
from worker.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    if not settings.max_requests_per_minute:
        return
    allowed = RateLimitItemPerMinute(settings.max_requests_per_minute)
    window = SlidingWindowCounterRateLimiter(MemoryStorage())

    @app.before_request
    def refuse_too_many() -> None:
        client = request.remote_addr or ""
        if not request.path.startswith("/api/") or window.hit(allowed, client):
            return
        seconds = max(1, math.ceil(window.get_window_stats(allowed, client).reset_time - time.time()))
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too_many_requests",
            f"{allowed.amount} requests a minute are allowed (MAX_REQUESTS_PER_MINUTE)",
            headers={"Retry-After": str(seconds)},
        )
