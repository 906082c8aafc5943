"""Every line of the service's log is a JSON object, whichever program wrote it; or, with LOG_FORMAT=text, for people.

Programs write JSON in any case: here, where it leaves the service, is the one place that makes text of it.

Run as a program it is the first process of a container that plays one role: it starts the role's command,
hands signals on, reaps orphans, and ends with the command's status once its last line is written. Under
supervisord the plug-in `guard` does the same with `JsonLines`.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

MAX_LINE_BYTES = 1 << 20

# In a line for people: what has a place of its own, and what is left out.
_PLACED = ("time", "level", "program", "logger", "message", "job_id", "request_id", "exc_info", "stack_info")


def entry(program: str, message: str, level: str | None = None) -> str:
    """One line of the log, without its newline."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    fields = {"time": stamp, "level": level, "program": program, "message": message}
    return _written({name: value for name, value in fields.items() if value is not None})


def _written(fields: Mapping[str, Any], as_it_was: str | None = None) -> str:
    return _text(fields) if os.environ.get("LOG_FORMAT") == "text" else as_it_was or json.dumps(fields)


def _text(fields: Mapping[str, Any]) -> str:
    """`12:34:56 worker   01a2… published default in 160 ms`, in UTC; a traceback is indented below."""
    level = fields.get("level", "INFO")
    about = fields.get("job_id") or fields.get("request_id")
    more = (f"{name}={json.dumps(value)}" for name, value in fields.items() if name not in _PLACED)
    parts = [
        str(fields["time"])[11:19],
        f"{fields['program']:<8}",
        *([level] if level != "INFO" else []),
        *([about] if about else []),
        fields["message"],
        *more,
    ]
    below = "\n".join(str(fields[name]) for name in ("exc_info", "stack_info") if fields.get(name))
    return "\n    ".join([" ".join(map(_harmless, parts)), *map(_harmless, below.splitlines())])


def _harmless(value: object) -> str:
    """Text without what would forge a line or steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


class JsonLines:
    """Cuts one program's output into lines and writes each as it leaves the service; JSON passes as it is."""

    def __init__(self, program: str, write: Callable[[str], object]) -> None:
        self._program = program
        self._write = write
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self.end()

    def end(self) -> None:
        """Writes what came without a newline."""
        rest, self._rest = self._rest, b""
        self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace").rstrip()
        if text:
            fields = _json_object(text)
            self._write(_written(fields, text) if fields else entry(self._program, text))


def _json_object(text: str) -> dict[str, Any] | None:
    """The fields of a line that one of the service's own programs wrote."""
    if not text.startswith("{"):
        return None
    try:
        fields: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return fields if {"time", "program", "message"} <= fields.keys() else None


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(program: str, stop_signal: signal.Signals, command: list[str]) -> int:
    """Runs the command to its end; returns its exit status, 128 + n when signal n ended it."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    output, writing = os.pipe()
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)],
        setsigmask=[],
        # What is ignored here would be ignored there: the first by Python, the others by a shell's `&`.
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT],
    )
    os.close(writing)

    # SIGTERM is what `docker stop` sends to every container; to Postgres and Celery it means "when your
    # clients have gone" and "when your jobs are done".
    _hand_on(signal.SIGTERM, pid, stop_signal)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        _hand_on(number, pid, number)
    # The image's entry point blocks them until now, when they are handled.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})

    lines = JsonLines(program, _write_line)
    sources = {woken, output}
    status: int | None = None
    while status is None:
        ready, _, _ = select.select(sources, [], [])
        if output in ready:
            data = os.read(output, 1 << 16)
            lines.feed(data)
            if not data:
                sources.remove(output)
        if woken in ready:
            os.read(woken, 1 << 12)
            status = _reap(pid)

    # What is in the pipe by now is the command's; waiting for its end could mean waiting for an orphan.
    os.set_blocking(output, False)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(output, 1 << 16):
            lines.feed(data)
    lines.end()
    return status


def _hand_on(received: signal.Signals, pid: int, sent: signal.Signals) -> None:
    def handler(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)

    signal.signal(received, handler)


def _reap(wanted: int) -> int | None:
    """Reaps all children that have ended; returns the exit status of the wanted one if it was among them."""
    status = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == wanted:
            code = os.waitstatus_to_exitcode(wait_status)
            status = code if code >= 0 else 128 - code


if __name__ == "__main__":
    _program, _stop_signal, *_command = sys.argv[1:]
    sys.exit(run(_program, signal.Signals[f"SIG{_stop_signal}"], _command))
