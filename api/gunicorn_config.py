"""How gunicorn serves the API. Its names are gunicorn's settings."""

import logging
from typing import Any

from gunicorn.glogging import Logger

from api.services import THREADS
from worker import logs
from worker.settings import Settings

bind = Settings.from_env().api_bind
worker_class = "gthread"
workers = 2
threads = THREADS
preload_app = True  # one import, shared memory; nothing is connected before the fork
timeout = 60
graceful_timeout = 2
keepalive = 5
# Where gunicorn's workers prove to be alive: memory, also where the root file system is read-only.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True


class JsonLogger(Logger):
    """What gunicorn has to say goes where everything else goes; the requests themselves are not logged."""

    def setup(self, _cfg: Any) -> None:
        logs.set_up("api")
        self.error_log.setLevel(logging.INFO)
        self.error_log.propagate = True


logger_class = JsonLogger
