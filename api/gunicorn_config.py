"""How gunicorn serves the API. Its names are gunicorn's settings.

It is read as a file (`--config api/gunicorn_config.py`): as a module it would import its package first, and so the API.
"""

# ruff: noqa: E402 - gevent comes first: whatever is imported before it keeps calls that block everybody
from gevent import monkey

monkey.patch_all()

import gc

gc.disable()  # what is imported stays: looking for garbage in it takes a quarter of the time

import logging
import resource
from typing import Any

from gunicorn.glogging import Logger

from worker import logs
from worker.settings import Settings

bind = Settings.from_env().api_bind
worker_class = "api.gunicorn_worker.Worker"
workers = 2
worker_connections = 2000  # each; nearly all of them wait
preload_app = True  # one import, shared memory; nothing is connected before the fork
timeout = 60
graceful_timeout = 2
keepalive = 5
# Where gunicorn's workers prove to be alive: memory, also where the root file system is read-only.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True

# As many files as connections; some systems allow 1024 unless asked.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(_most, 65536) if _most > 0 else 65536, _most))


def when_ready(_server: Any) -> None:
    """The workers share what is there by now, until something writes to it."""
    gc.freeze()
    gc.enable()


class JsonLogger(Logger):
    """What gunicorn has to say goes where everything else goes; the requests themselves are not logged."""

    def setup(self, _cfg: Any) -> None:
        logs.set_up("api")
        self.error_log.setLevel(logging.INFO)
        self.error_log.propagate = True


logger_class = JsonLogger
