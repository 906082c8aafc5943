"""supervisord plug-in: one log, and a service that ends with the truth in its exit status.

Loaded through `[rpcinterface:guard]`, supervisord's extension point, because only code inside supervisord
can decide its exit status: it ends 0 after every orderly stop, and as process 1 of a container it cannot be
killed from inside.
"""

import atexit
import os
import signal
from typing import Any

from jsonlines import JsonLines, entry
from supervisor import events
from supervisor.loggers import LOG_LEVELS_BY_NUM, LevelsByName, Logger
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import SupervisorStates

# supervisord's names for its levels, and the ones that all other programs use.
LEVELS = {"CRIT": "CRITICAL", "ERRO": "ERROR", "WARN": "WARNING", "INFO": "INFO"}


class Log:
    """Takes over supervisord's logger, and the output of its programs, which it writes whole line by whole line."""

    def __init__(self, logger: Logger) -> None:
        self._log = logger.log
        self._lines: dict[str, JsonLines] = {}
        for handler in logger.handlers:
            handler.setFormat("%(message)s\n")
        logger.log = self.log_own
        events.subscribe(events.ProcessLogEvent, self._on_output)
        events.subscribe(events.ProcessStateEvent, self._on_state)

    def log_own(self, level: int, message: str, **values: Any) -> None:
        text = message % values if values else message
        if "without any HTTP authentication" in text:
            return  # true, and harmless: its socket is in RUN_DIR, which nobody else can enter
        name = LOG_LEVELS_BY_NUM[level]
        self._log(level, entry("supervisord", text, LEVELS.get(name, "DEBUG")))

    def _write(self, line: str) -> None:
        self._log(LevelsByName.CRIT, line)  # whatever supervisord's own log level is

    def _on_output(self, event: Any) -> None:
        name = event.process.config.name
        if name not in self._lines:
            self._lines[name] = JsonLines(name, self._write)
        self._lines[name].feed(event.data)

    def _on_state(self, event: Any) -> None:
        # A dying program's last output has been read before its state changes.
        if event.process.config.name in self._lines:
            self._lines[event.process.config.name].end()


class Guard:
    """Stops the service, and makes it end with status 1, when a program is down and will not come back."""

    def __init__(self, options: Any) -> None:
        self._options = options
        events.subscribe(events.ProcessStateFatalEvent, self._on_fatal)
        events.subscribe(events.ProcessStateUnknownEvent, self._on_fatal)
        events.subscribe(events.ProcessStateExitedEvent, self._on_exited)

    def _on_fatal(self, event: Any) -> None:
        self._fail(event.process.config.name, "could not be started")

    def _on_exited(self, event: Any) -> None:
        if event.expected:  # any other exit is followed by a restart
            self._fail(event.process.config.name, "ended without having been asked to")

    def _fail(self, name: str, what: str) -> None:
        if self._options.mood < SupervisorStates.RUNNING:
            return
        self._options.logger.critical(f"program {name} {what}: stopping the service")
        self._options.mood = SupervisorStates.SHUTDOWN
        atexit.register(os._exit, 1)


class Wakeup(asyncore.file_dispatcher):  # type: ignore[misc]
    """Lets a signal end supervisord's poll, which sleeps through it for up to a second.

    Each step of an orderly stop begins with the SIGCHLD of the one before, and they must fit into the 10 s
    of `docker stop`. (supervisord relies on EINTR, which Python retries since PEP 475.)
    """

    def __init__(self) -> None:
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        super().__init__(woken)
        os.write(wakes, b"!")  # the first programs start after the first poll

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.recv(1 << 12)


def _let_signals_through(_: Any) -> None:
    """The image's entry point blocks them until now, when supervisord handles them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


def make(supervisord: Any, **_: str) -> object:
    """The factory that supervisord.conf names; the RPC interface that it returns has no methods."""
    Log(supervisord.options.logger)
    Guard(supervisord.options)
    Wakeup()
    events.subscribe(events.SupervisorRunningEvent, _let_signals_through)
    return object()
